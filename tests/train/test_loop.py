"""The loop: files of a workdir, resume equal to no interruption, stops and mistakes."""

import contextlib
import gzip
import json
import math
import signal

import jax
import numpy as np
import pytest
from PIL import Image

from crnn_jax import peaks
from crnn_jax.checkpoint import Checkpoints
from crnn_jax.data.dataset import load_dataset
from crnn_jax.errors import UserError
from crnn_jax.evaluate import main as evaluate
from crnn_jax.train import loop
from crnn_jax.train.experiment import build
from crnn_jax.train.loop import train


def final_state(config, workdir):
    dataset = load_dataset(config)
    source = dataset.source
    experiment = build(config, source.input_shape, source.num_classes, dataset.num_train)
    checkpoints = Checkpoints(workdir / "checkpoints", keep_latest=1, keep_best=False)
    restored = checkpoints.restore(experiment.abstract_state())
    assert restored is not None
    return restored


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_equal_to_the_bit(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), first, second)


class StopAfter:
    """A stop signal that comes after a number of steps (the loop asks twice a step at most)."""

    steps = 0

    def __init__(self):
        self.asked = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def interruptible(self):
        return contextlib.nullcontext()

    def poll(self, step):
        pass

    @property
    def requested(self):
        self.asked += 1
        return signal.SIGTERM if self.asked >= self.steps else None


def train_in_two_parts(config, workdir, monkeypatch, steps):
    with monkeypatch.context() as patch:
        patch.setattr(StopAfter, "steps", steps)
        patch.setattr(loop, "StopSignal", StopAfter)
        with pytest.raises(SystemExit) as stop:
            train(config, str(workdir))
    assert stop.value.code == 128 + signal.SIGTERM
    assert not (workdir / "result.json").exists()
    return train(config, str(workdir))


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_resumed_equals_uninterrupted(tiny, tmp_path, monkeypatch, capsys, pipeline):
    config = tiny(
        "crnn",
        data__pipeline=pipeline,
        optim__ema_decay=0.9,
        model__dropout=0.2,
        optim__clip_norm=1,
    )
    whole = train(config, str(tmp_path / "whole"))
    parts = train_in_two_parts(config, tmp_path / "parts", monkeypatch, steps=5)
    assert "resuming at step 5/12" in capsys.readouterr().out
    step, state = final_state(config, tmp_path / "whole")
    assert step == 12
    assert_equal_to_the_bit((step, state), final_state(config, tmp_path / "parts"))
    assert parts["test"] == whole["test"]
    logged = read_lines(tmp_path / "parts" / "metrics.jsonl")
    steps = [line["step"] for line in logged if "train/loss" in line]
    assert steps == sorted(set(steps))
    assert steps[-1] == 12


@pytest.mark.long
def test_several_steps_in_one_program(tiny, tmp_path, monkeypatch, capsys):
    """Durations are multiples of 4 steps, a resumed run keeps the 4, a trace holds whole programs.

    The run of two parts does not say how many steps a program has: the first part's count stays.
    """
    several = {"steps_per_dispatch": 4, "data__validation": 0.1, "duration": "11 steps"}
    config = tiny("rnn", **several, log__profile="6:7")
    whole = train(config, str(tmp_path / "whole"))
    assert whole["steps"] == 12
    out = capsys.readouterr().out
    assert "trace of the steps" in out
    with monkeypatch.context() as patch:
        patch.setattr(StopAfter, "steps", 2)
        patch.setattr(loop, "StopSignal", StopAfter)
        with pytest.raises(SystemExit):
            train(tiny("rnn", **several), str(tmp_path / "parts"))
    parts = train(tiny("rnn", **{**several, "steps_per_dispatch": 0}), str(tmp_path / "parts"))
    assert "resuming at step 8/12" in capsys.readouterr().out
    assert_equal_to_the_bit(*(final_state(config, tmp_path / n) for n in ("whole", "parts")))
    assert parts["test"] == whole["test"]
    lines = read_lines(tmp_path / "parts" / "metrics.jsonl")
    assert [line["step"] for line in lines if "train/loss" in line] == [4, 8, 12]
    assert [line["step"] for line in lines if "validation/accuracy" in line] == [8, 12]
    (trace,) = (tmp_path / "whole").glob("profile/**/perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    steps = {event["args"]["step_num"] for event in events if event.get("name") == "train"}
    assert steps == {"8"}
    with pytest.raises(UserError, match="steps_per_dispatch is 4 there and 1 here"):
        train(tiny("rnn", **{**several, "steps_per_dispatch": 1}), str(tmp_path / "parts"))


@pytest.mark.long
def test_a_share_of_the_peak_is_logged_where_the_peak_is_known(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(peaks.PEAKS, "cpu", peaks.Peak(1e12, 1e9, 1e8))
    result = train(tiny("rnn", mesh__data=8), str(tmp_path))
    train_flops = 3 * result["flops_per_image"] * result["images_per_second"]
    assert result["mfu"] == pytest.approx(train_flops / (8 * 1e9))
    lines = [line for line in read_lines(tmp_path / "metrics.jsonl") if "train/mfu" in line]
    last = lines[-1]
    expected = 3 * result["flops_per_image"] * last["train/images_per_second"] / (8 * 1e9)
    assert last["train/mfu"] == pytest.approx(expected)


@pytest.mark.long
def test_a_recipe_resumes_is_reported_and_is_evaluated(tiny, recipe, tmp_path, monkeypatch, capsys):
    config = tiny("crnn", **recipe, eval__weights="ema")
    whole = train(config, str(tmp_path / "whole"))
    parts = train_in_two_parts(config, tmp_path / "parts", monkeypatch, steps=9)
    states = [final_state(config, tmp_path / name)[1] for name in ("whole", "parts")]
    assert_equal_to_the_bit(*states)
    found = states[0].batch_stats["trunk"]["whiten"]["kernel"]
    np.testing.assert_array_equal(found, load_dataset(config).norm()["whitening_HWIO"])
    assert whole["test_tta"]["views"] == "mirror_shift"
    assert whole["test_tta"] == parts["test_tta"]
    assert whole["test"]["loss"] != whole["test_tta"]["loss"]
    assert "test_tta/accuracy" in read_lines(tmp_path / "whole" / "metrics.jsonl")[-1]
    capsys.readouterr()
    evaluate(["--workdir", str(tmp_path / "whole"), "--tta=mirror_shift"])
    accuracy, counts = (whole["test_tta"][key] for key in ("accuracy", "num_correct"))
    line = f"test accuracy with tta=mirror_shift {accuracy:.4f} ({counts}/360)"
    assert capsys.readouterr().out.strip() == line


@pytest.mark.long
def test_resident_and_streaming_train_alike(tiny, tmp_path):
    losses = []
    # Fewer than 12 batches of training examples: the second epoch's mirrors are the others.
    changes = {"data__test_fraction": 0.7, "data__flip": "alternating", "data__cutout": 2}
    for pipeline in ("resident", "streaming"):
        train(tiny("crnn", data__pipeline=pipeline, **changes), str(tmp_path / pipeline))
        lines = read_lines(tmp_path / pipeline / "metrics.jsonl")
        losses.append([line["train/loss"] for line in lines if "train/loss" in line])
    assert len(losses[0]) >= 4
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@pytest.mark.smoke
def test_files_of_a_workdir(tiny, tmp_path, capsys):
    config = tiny(
        "crnn", data__validation=0.1, log__tracker="tensorboard", checkpoint__every="6 steps"
    )
    result = train(config, str(tmp_path))
    out = capsys.readouterr().out
    test = result["test"]
    counts = f"({test['num_correct']}/360)"
    assert out.rstrip().splitlines()[-1] == f"test accuracy {test['accuracy']:.4f} {counts}"
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(json.dumps(result))
    assert json.loads((tmp_path / "config.json").read_text())["model"]["name"] == "crnn"
    assert json.loads((tmp_path / "dataset.json").read_text())["num_train"] == 1293
    assert list(tmp_path.glob("**/events.out.tfevents*"))
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert {line["step"] for line in lines if "validation/accuracy" in line} == {6, 12}
    assert "test/accuracy" in lines[-1]
    assert all(0 <= line["train/accuracy"] <= 1 for line in lines if "train/loss" in line)
    for key in "config_hash seed git_commit versions devices parameters flops_per_image".split():
        assert key in result
    assert {"train", "compile", "evaluation"} <= result["seconds"].keys()
    assert result["mfu"] is None  # nobody publishes a peak of this CPU
    assert all(line["train/mfu"] is None for line in lines if "train/loss" in line)
    # The same command again says so and changes nothing.
    before = (tmp_path / "result.json").read_bytes()
    assert train(config, str(tmp_path)) == json.loads(before)
    assert "already finished" in capsys.readouterr().out
    assert (tmp_path / "result.json").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_checkpoints(tiny, tmp_path):
    config = tiny("crnn", optim__name="sgd", optim__learning_rate=1e18, model__norm=False)
    with pytest.raises(UserError, match=r"finite training loss.*optim\.learning_rate"):
        train(config, str(tmp_path))
    assert not (tmp_path / "result.json").exists()
    for folder in (tmp_path / "checkpoints").glob("[0-9]*"):
        step, state = final_state(config, tmp_path)
        assert folder.name <= str(step)
        assert all(math.isfinite(np.sum(leaf)) for leaf in jax.tree.leaves(state.params))


def test_0_steps_is_only_at_the_end(tiny, tmp_path):
    every = {"checkpoint__every": "0 steps", "eval__every": "0 steps", "log__every": "0 steps"}
    config = tiny("rnn", duration="5 steps", checkpoint__keep_latest=9, **every)
    train(config, str(tmp_path))
    assert [p.name for p in (tmp_path / "checkpoints").glob("[0-9]*")] == ["5"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == {5}


def test_a_first_start_that_fails_on_its_data_can_be_corrected(tiny, tmp_path):
    config = tiny("rnn", data__source="folder:/nonexistent", data__image_size=8)
    with pytest.raises(UserError, match="/nonexistent"):
        train(config, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_start_that_fails_before_its_first_step_binds_nobody(tiny, tmp_path):
    for part, sides in (("train", (8, 9)), ("test", (8,))):
        for side in sides:
            path = tmp_path / "photos" / part / "a" / f"{side}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(path)
    keys = {"data__source": f"folder:{tmp_path / 'photos'}", "batch_size": 1}
    keys |= {"duration": "1 steps", "optim__warmup": "0 steps"}
    with pytest.raises(UserError, match=r"found 9x9; set config key 'data\.image_size'"):
        train(tiny("rnn", **keys), str(tmp_path / "run"))
    assert (tmp_path / "run" / "config.json").exists()
    assert train(tiny("rnn", **keys, data__image_size=8), str(tmp_path / "run"))["steps"] == 1


@pytest.mark.long
def test_a_warm_up_longer_than_the_run_is_told(tiny, tmp_path, capsys):
    train(tiny("rnn", duration="1 steps", optim__warmup="5 steps"), str(tmp_path))
    line = "'optim.warmup' is longer than the run, by 5 steps to 1: the learning rate never"
    assert line in capsys.readouterr().out


def test_another_config_is_refused(tiny, finished):
    workdir = finished("cnn")
    before = {p: p.read_bytes() for p in workdir.glob("*.json")}
    other = tiny("cnn", optim__learning_rate=0.5)
    with pytest.raises(UserError, match=r"optim\.learning_rate is 0\.004 there and 0\.5 here"):
        train(other, str(workdir))
    assert {p: p.read_bytes() for p in workdir.glob("*.json")} == before


@pytest.mark.long
def test_placement_may_change_on_resume(tiny, tmp_path, monkeypatch):
    config = tiny("cnn", mesh__data=8, optim__name="sgd", optim__learning_rate=0.01)
    monkeypatch.setattr(StopAfter, "steps", 5)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "StopSignal", StopAfter)
        with pytest.raises(SystemExit):
            train(config, str(tmp_path / "moved"))
    moved = tiny("cnn", mesh__data=1, optim__name="sgd", optim__learning_rate=0.01)
    train(moved, str(tmp_path / "moved"))
    train(config, str(tmp_path / "whole"))
    (_, a), (_, b) = (final_state(moved, tmp_path / name) for name in ("moved", "whole"))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), a.params, b.params)


def test_a_batch_that_the_devices_do_not_divide(tiny, tmp_path):
    with pytest.raises(UserError, match="'batch_size' expects a multiple of the 8 devices that"):
        train(tiny("cnn", batch_size=60, mesh__data=-1), str(tmp_path))


def test_an_unwritable_workdir(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written.*--workdir"):
        train(tiny("cnn"), str(tmp_path / "file" / "w"))
