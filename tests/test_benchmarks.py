"""The round of benchmarks says what it is asked wrongly; .ci/run does its dry run."""

import importlib
import importlib.util
import json
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from crnn_jax.models import MODELS
from crnn_jax.models.recurrent.cells import CELLS
from crnn_jax.run import Run
from crnn_jax.studies import budgets
from crnn_jax.train.experiment import build

ROUND = "benchmarks/gpu_round.sh"


@pytest.mark.parametrize("arguments", [[], ["sped"], ["speed", "--dry"], ["all", "--dry_run", "x"]])
def test_a_wrong_part_is_one_line_and_exit_code_2(arguments):
    done = subprocess.run([ROUND, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "expected speed, gru, table1, race, tune, all or collect" in line


@pytest.fixture
def fake_python(tmp_path):
    """Returns make(code): an interpreter that logs its arguments and ends a study with `code`."""

    def make(code):
        path = tmp_path / "python"
        path.write_text(
            "#!/bin/sh\n"
            f'[ "$1" = -c ] && exit 0\necho "$@" >> {tmp_path}/calls\n'
            f'case "$*" in *studies*) exit {code};; esac\n'
        )
        path.chmod(0o755)
        return path

    return make


def run_round(folder, python, part, **env):
    """Runs the round in a folder of its own, without git: records of it must not stay here."""
    script = folder / ROUND
    script.parent.mkdir(exist_ok=True)
    with open(ROUND) as source:
        script.write_text(source.read())
    command = ["bash", str(script), part]
    env = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "TFDS_DATA_DIR": str(folder), **env}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def test_what_is_done_is_not_done_again(tmp_path, fake_python):
    done = run_round(tmp_path, fake_python(0), "table1")
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text()
    assert "studies.table1 --dataset=cifar10 --budget=full --seeds=5" in calls
    again = run_round(tmp_path, fake_python(0), "table1")
    assert again.returncode == 0
    assert "table1: done before" in again.stdout
    assert (tmp_path / "calls").read_text() == calls


def test_all_rows_are_tuned_alike(tmp_path, fake_python):
    done = run_round(tmp_path, fake_python(0), "tune")
    assert done.returncode == 0, done.stderr
    calls = [call.split() for call in (tmp_path / "calls").read_text().splitlines()]
    configs = [[word for word in call if word.startswith("--config=")] for call in calls]
    assert configs == [[f"--config=configs/cifar10.py:{row}"] for row in budgets.ROWS]
    rest = {tuple(word for word in call if not word.startswith("--config=")) for call in calls}
    assert len(rest) == 1
    assert sum(word.startswith("--trial=") for word in rest.pop()) == 3


@pytest.mark.parametrize(("code", "expected"), [(143, 3), (1, 1)])
def test_a_stopped_study_goes_on_with_the_next_call(tmp_path, fake_python, code, expected):
    assert run_round(tmp_path, fake_python(code), "race").returncode == expected
    assert run_round(tmp_path, fake_python(0), "race").returncode == 0


def test_collected_records_lie_in_results_once(tmp_path, fake_python):
    assert run_round(tmp_path, fake_python(0), "collect").returncode == 2
    records = tmp_path / "runs/gpu_round/unknown/results"
    (records / "benchmarks").mkdir(parents=True)
    (records / "benchmarks" / "input.jsonl").write_text("new\n")
    (records / "bottleneck_a.json").write_text("{}")
    kept = tmp_path / "results" / "benchmarks" / "input.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("old\n")
    assert run_round(tmp_path, fake_python(0), "collect").returncode == 0
    assert kept.read_text() == "old\nnew\n"
    assert (tmp_path / "results" / "bottleneck_a.json").exists()
    assert run_round(tmp_path, fake_python(0), "collect").returncode == 2


def test_no_time_left(tmp_path, fake_python):
    done = run_round(tmp_path, fake_python(0), "race", ROUND_SECONDS="10")
    assert done.returncode == 3
    assert "left for the next call" in done.stdout
    assert not (tmp_path / "calls").exists()


def test_without_the_data_set_speed_is_measured_on_random_images(tmp_path, fake_python):
    done = run_round(tmp_path, fake_python(0), "speed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "measuring on random images" in done.stdout
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].startswith("benchmarks/stand_in.py")
    for name in ("studies.bottleneck", "input.py", "dispatch.py", "crnn_jax.main"):
        (call, *_) = [call for call in calls if name in call]
        assert "--config.data.source=folder:" in call, name
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "calls").unlink()
    run_round(tmp_path, fake_python(0), "speed")
    assert not (tmp_path / "calls").exists()  # nothing is left to be done


AIRBENCH_TABLE = """
-----------------------------------------------------------------
|  run     |  epoch  |  train_acc  |  val_acc  |  tta_val_acc  |  time_seconds  |
-----------------------------------------------------------------
|  warmup  |      0  |     0.1000  |   0.1000  |               |        9.0000  |
|          |   eval  |     0.1000  |   0.1000  |       0.1000  |       99.0000  |
-----------------------------------------------------------------
|       0  |      0  |     0.5000  |   0.6000  |               |        1.0000  |
|          |      1  |     0.9500  |   0.9350  |               |        2.0000  |
|          |   eval  |     0.9500  |   0.9350  |       0.9410  |        2.5000  |
-----------------------------------------------------------------
|       1  |      0  |     0.5000  |   0.6000  |               |        1.0000  |
|          |      1  |     0.9500  |   0.9330  |               |        2.2000  |
|          |   eval  |     0.9500  |   0.9330  |       0.9390  |        2.7000  |
-----------------------------------------------------------------
"""


@pytest.fixture
def airbench(monkeypatch):
    monkeypatch.syspath_prepend("benchmarks")
    return importlib.import_module("airbench")


def test_the_record_holders_table_is_read_without_its_warm_up(airbench):
    assert airbench.parse(AIRBENCH_TABLE) == {
        "plain": [0.935, 0.933], "tta": [0.941, 0.939],
        "seconds": [2.0, 2.2], "seconds_tta": [2.5, 2.7],
    }  # fmt: skip


def test_a_folder_without_the_record_holder_is_a_mistake(airbench, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["airbench.py", f"--clone={tmp_path}"])
    with pytest.raises(SystemExit) as error:
        airbench.main()
    assert error.value.code == 2
    assert "expects a folder with airbench94_muon.py" in capsys.readouterr().err


@pytest.fixture
def export_equality(monkeypatch):
    monkeypatch.syspath_prepend("benchmarks")
    return importlib.import_module("export_equality")


def test_files_of_every_model_and_cell_are_compared(export_equality):
    settings = export_equality.SETTINGS.values()
    assert {model for model, _ in settings} == set(MODELS) - {"reseg"}  # which has no probabilities
    crnns = {tuple(overrides.values()) for model, overrides in settings if model == "crnn"}
    assert {(cell, both) for cell in CELLS for both in ("False", "True")} < crnns
    assert ("gru", "attention") in crnns


@pytest.mark.parametrize("size", [1, 2, 64])
def test_the_largest_difference_is_found_in_every_batch(export_equality, size):
    expected = np.full((5, 2), 0.5)
    calls = []

    def apply(images):
        calls.append(len(images))
        return {"probability": np.where(images == 4, 0.75, 0.5) * np.ones((1, 2))}

    images = np.arange(5)[:, None]
    assert export_equality._largest(apply, images, expected, size) == 0.25
    assert export_equality._largest(apply, images[:4], expected[:4], size) == 0.0
    assert max(calls) == min(size, 5)


@pytest.mark.slow
def test_made_weights_tell_images_apart(export_equality, tiny, tmp_path):
    experiment = build(tiny("cnn"), (8, 8, 1), 10, 100)
    state = experiment.init_state({"mean_C": np.full(1, 100.0), "std_C": np.full(1, 50.0)})
    run = export_equality._perturbed(Run(tmp_path, experiment, state, tuple("0123456789"), {}))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
    before = run.probabilities(pixels).std(axis=0).mean()
    run = export_equality._spread_scores(export_equality._with_statistics(run, pixels), pixels)
    assert run.probabilities(pixels).std(axis=0).mean() > 3 * before
    logits = np.log(run.probabilities(pixels))
    scores = logits - logits.mean(axis=1, keepdims=True)
    assert 1.5 < scores.std(axis=0).mean() < 4.0


@pytest.mark.parametrize("shape", [(8, 6, 1), (6, 8, 3)])
def test_a_new_user_runs_the_program_of_the_page(shape, monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend("benchmarks")
    program = importlib.import_module("new_user").alone()
    with pytest.raises(SystemExit, match="expected no JAX, found one"):
        exec(compile(program, "alone.py", "exec"), {})

    class Session:
        def __init__(self, path):
            assert path == "a.onnx"

        def get_modelmeta(self):
            facts = {"input_shape": shape, "input": "pixels", "class_names": ["cat", "dog"]}
            texts = {name: json.dumps(value) for name, value in facts.items()}
            return types.SimpleNamespace(custom_metadata_map=texts)

        def run(self, names, values):
            assert names == ["probability"]
            assert values["pixels"].dtype == np.uint8
            assert values["pixels"].shape == (1, *shape)
            return [np.array([[0.25, 0.75]])]

    Image.new("RGBA", (40, 30)).save(tmp_path / "photo.png")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    fake = types.SimpleNamespace(InferenceSession=Session)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setattr(sys, "argv", ["alone.py", "a.onnx", str(tmp_path / "photo.png")])
    exec(compile(program, "alone.py", "exec"), {})
    assert capsys.readouterr().out == "dog 0.75\n"
