"""The verdict follows from the numbers; the study measures every part and writes them down."""

import json

import pytest

from crnn_jax.studies import bottleneck, probes

# A step of 100 ms that products fill to 80%, on a device of 1 TFLOP/s and 100 GB/s.
STEP = {
    "step_seconds": 0.1,
    "constant_batch_seconds": 0.1,
    "input_ratio": 1.0,
    "recurrent_seconds": 0.01,
    "recurrent_flops": 9e9,
    "launch_seconds": 0.001,
    "host_seconds": 0.0001,
    "matmul_flops_per_second": 1e12,
    "model_flops": 8e10,
    "bytes": 3e9,
    "bytes_per_second": 1e11,
    "all_reduce_seconds": None,
    "num_devices": 1,
}


def test_shares_by_hand():
    parts = bottleneck.shares({**STEP, "input_ratio": 1.25})
    assert parts == pytest.approx(
        {
            "input": 0.2,
            "host dispatch": 0.01,
            "compute": 0.8,
            "memory": 0.3,
            "recurrence latency": 0.01,
            "collectives": 0.0,
        }
    )


@pytest.mark.parametrize(
    ("changes", "bound", "words"),
    [
        ({}, "compute", "would take 80%"),
        ({"model_flops": 2e10}, "memory", "find them with --profile"),
        ({"model_flops": 2e10, "bytes": 7e9}, "memory", "would take 70%"),
        ({"input_ratio": 2.5}, "input", "60% of 100 ms is spent on it"),
        ({"recurrent_seconds": 0.07}, "recurrence latency", "another model.implementation"),
        ({"launch_seconds": 0.095}, "host dispatch", "steps_per_dispatch"),
        ({"launch_seconds": None, "host_seconds": 0.095}, "host dispatch", "steps_per_dispatch"),
        ({"launch_seconds": 0.08}, "compute", "would take 80%"),  # hidden behind the device
        ({"all_reduce_seconds": 0.06}, "collectives", "larger batch on each device"),
        ({"recurrent_seconds": None, "recurrent_flops": 0, "bytes": None}, "compute", "80%"),
    ],
)
def test_verdict(changes, bound, words):
    found = {**STEP, **changes}
    said = bottleneck.verdict(found)
    assert said["bound"] == bound
    assert words in said["words"]
    assert len(bottleneck.evidence(found)) == 6


@pytest.fixture
def small_probes(monkeypatch):
    monkeypatch.setattr(bottleneck, "_SIZES", {"cpu": (64, 2**16)})
    monkeypatch.setattr(bottleneck, "_FILL_SECONDS", 0.001)


@pytest.mark.slow
def test_the_study_measures_every_part(tmp_path, capsys, small_probes):
    arguments = ["--config=configs/digits.py:rnn,model.hidden_units=8", "--config.batch_size=16"]
    arguments += ["--config.steps_per_dispatch=2", "--repeats=2", f"--results={tmp_path}"]
    bottleneck.main([*arguments, "--name=tiny"])
    content = json.loads((tmp_path / "bottleneck_tiny.json").read_text())
    found = content["measured"]
    for key in bottleneck.shares(found).keys() | STEP.keys() - {"launch_seconds"}:
        assert found.get(key, 1) > 0, key
    assert found["num_devices"] == 8
    assert found["launch_seconds"] is None  # a CPU computes in the call
    assert found["mfu"] is None
    low, median, high = found["input_ratios"]
    assert low <= median == found["input_ratio"] <= high
    assert content["verdict"]["bound"] in bottleneck.ADVICE
    assert content["verdict"]["words"] in capsys.readouterr().out
    assert content["config"]["steps_per_dispatch"] == 2
    # The recurrent layer alone: three times its forward products of 8 steps of 8 pixels.
    assert found["recurrent_flops"] == 3 * 2 * 16 * 8 * (8 * 24 + 8 * 24)


@pytest.mark.parametrize("arguments", [[], ["--config=configs/digits.py:rnn", "--workdir=w"]])
def test_config_or_workdir(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        bottleneck.main(arguments)
    assert stop.value.code == 2
    assert "expected one of --config" in capsys.readouterr().err


def test_the_config_of_a_run(tiny, tmp_path, monkeypatch):
    from crnn_jax.workdir import open_workdir, write_config

    write_config(open_workdir(str(tmp_path / "run"))[0], tiny("cnn", seed=7))
    seen = []
    monkeypatch.setattr(bottleneck, "measure", lambda config, repeats: seen.append(config) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bottleneck.main([f"--workdir={tmp_path}/run", "--config.batch_size=32"])
    assert (seen[0].seed, seen[0].batch_size, seen[0].model.name) == (7, 32, "cnn")


def test_recurrent_layers_are_found_with_their_inputs(tiny, start_run):
    for model, shapes in {
        "cnn": [],
        "rnn": [(64, 8, 8)],
        "lrcn": [(64, 4, 8)],
    }.items():
        experiment = start_run(tiny(model))[0]
        calls = probes.recurrent_calls(experiment.model, experiment.input_shape, 64)
        assert [shape.shape for _, shape in calls] == shapes
