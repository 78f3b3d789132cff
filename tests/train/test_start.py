"""Runs that begin with the weights of another."""

import json
import shutil

import jax
import numpy as np
import pytest

from crnn_jax.checksums import named_leaves
from crnn_jax.data.dataset import load_dataset
from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.run import open_run
from crnn_jax.train import start
from crnn_jax.train.experiment import build
from crnn_jax.train.loop import train
from crnn_jax.weight_files import WeightFile, write_weights
from crnn_jax.weights import load_weights
from tests.train.test_loop import assert_equal_to_the_bit, final_state, train_in_two_parts

pytestmark = pytest.mark.long

SMALL = {
    "model.width": "4",
    "model.hidden_units": "8",
    "model.num_conv_layers": "2",
    "model.whiten_size": "2",
    "batch_size": "64",
    "duration": "8 steps",
    "optim.warmup": "0 steps",
    "checkpoint.every": "4 steps",
    "log.tracker": "none",
    "mesh.data": "1",  # compiles faster than for all
    "seed": "7",
}
BELOW = "trunk/*,recurrent/*"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The workdir of a finished CRNN, which reports the average of its weights."""
    folder = tmp_path_factory.mktemp("source")
    train(resolve_config("configs/digits.py:crnn", SMALL), str(folder))
    return folder


def make(source, **changes):
    """Returns the config of a run that begins with those weights, on another part of the digits."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    keys = {**SMALL, "seed": "1", "init.from": str(source), **changes}
    return resolve_config("configs/digits.py:crnn", {k: str(v) for k, v in keys.items()})


def begin(config, workdir, num_classes=10):
    """Returns (the state at step 0, the run's own norm)."""
    dataset = load_dataset(config)
    data = dataset.source
    experiment = build(config, data.input_shape, num_classes, dataset.num_train)
    begun = start.read_start(experiment, data.class_names[:num_classes])
    norm = dataset.norm()
    return start.begin(begun, norm, workdir), norm


def states(workdir):
    arrays = json.loads((workdir / "init.json").read_text())["arrays"]
    return {name: entry["state"] for name, entry in arrays.items()}


def test_the_reported_weights_begin_a_run(source, tmp_path, capsys):
    state, own_norm = begin(make(source, optim__lookahead_steps=3), tmp_path)
    expected = open_run(source)
    assert_equal_to_the_bit(
        {"params": state.params, "batch_stats": state.batch_stats}, expected.weights
    )
    assert_equal_to_the_bit(state.norm, expected.state.norm)
    assert not np.array_equal(state.norm["mean_C"], own_norm["mean_C"])
    assert_equal_to_the_bit(state.opt_state.slow, expected.weights["params"])
    assert int(state.step) == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.ema))
    out = capsys.readouterr().out
    assert f"weights of {source}, step 8, ema" in out
    assert "loaded      " in out
    assert "head/*, recurrent/*, trunk/*, norm/*" in out
    facts = json.loads((tmp_path / "init.json").read_text())
    assert (facts["source"], facts["step"], facts["weights"]) == (str(source), 8, "ema")
    assert set(states(tmp_path).values()) == {"loaded"}


def test_a_head_of_other_classes_is_made_anew(source, tmp_path, capsys):
    config = make(source)
    state, norm = begin(config, tmp_path, num_classes=5)
    loaded = named_leaves(open_run(source).weights["params"])
    dataset = load_dataset(config)
    fresh = build(config, dataset.source.input_shape, 5, dataset.num_train).init_state(norm)
    for name, array in named_leaves(state.params).items():
        expected = named_leaves(fresh.params) if name.startswith("head/") else loaded
        np.testing.assert_array_equal(array, expected[name])
    assert "mismatched  2 arrays of 45 numbers: head/dense/bias (5,), there (10,)" in (
        capsys.readouterr().out
    )


def test_what_is_skipped_is_made_anew(source, tmp_path, capsys):
    config = make(source, init__skip="head/*,norm/*,trunk/whiten/kernel", init__freeze=BELOW)
    state, norm = begin(config, tmp_path)
    loaded = named_leaves(open_run(source).weights["params"])
    found = named_leaves(state.params)
    np.testing.assert_array_equal(state.norm["mean_C"], norm["mean_C"])
    kernel = state.batch_stats["trunk"]["whiten"]["kernel"]
    np.testing.assert_array_equal(kernel, norm["whitening_HWIO"])
    np.testing.assert_array_equal(found["trunk/conv_0_0/kernel"], loaded["trunk/conv_0_0/kernel"])
    assert not np.array_equal(found["head/dense/kernel"], loaded["head/dense/kernel"])
    out = capsys.readouterr().out
    assert "skipped     5 arrays" in out
    assert "frozen      " in out
    arrays = json.loads((tmp_path / "init.json").read_text())["arrays"]
    assert arrays["trunk/conv_0_0/kernel"]["frozen"]
    assert not arrays["head/dense/bias"]["frozen"]


def test_a_new_whitening_kernel_brings_its_own_norm(source, tmp_path):
    state, norm = begin(make(source, init__skip="trunk/whiten/kernel"), tmp_path)
    np.testing.assert_array_equal(state.norm["std_C"], norm["std_C"])
    assert states(tmp_path)["norm/std_C"] == "skipped"


def test_the_part_that_another_model_has_too(source, tmp_path):
    """A CNN takes the trunk; the recurrent layer is of no use to it."""
    keys = {k: v for k, v in SMALL.items() if k != "model.hidden_units"}
    config = resolve_config("configs/digits.py:cnn", {**keys, "init.from": str(source)})
    state, _ = begin(config, tmp_path)
    loaded = named_leaves(open_run(source).weights["params"])["trunk/conv_1_0/kernel"]
    np.testing.assert_array_equal(state.params["trunk"]["conv_1_0"]["kernel"], loaded)
    found = states(tmp_path)
    assert found["recurrent/layer_0/kernel_x"] == "unused"
    assert (found["head/dense/kernel"], found["head/dense/bias"]) == ("loaded", "loaded")


def test_classes_of_other_names_are_told(source, tmp_path, capsys, monkeypatch):
    dataset = load_dataset(make(source))
    experiment = build(make(source), (8, 8, 1), 10, dataset.num_train)
    names = tuple(f"class {i}" for i in range(10))
    start.begin(start.read_start(experiment, names), dataset.norm(), tmp_path)
    assert "note: the head is loaded, and knows other classes (0, 1, 2" in capsys.readouterr().out


def test_a_frozen_run_keeps_what_it_was_given_and_needs_the_source_once(
    source, tmp_path, monkeypatch, capsys
):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    config = make(copy, init__freeze=BELOW, init__skip="head/*", duration="6 steps")
    whole = train(config, str(tmp_path / "whole"))
    capsys.readouterr()
    read = start.load_weights
    with monkeypatch.context() as patch:
        patch.setattr(start, "load_weights", lambda path: (read(path), shutil.rmtree(path))[0])
        parts = train_in_two_parts(config, tmp_path / "parts", monkeypatch, steps=5)
    assert not copy.exists()
    assert capsys.readouterr().out.count("weights of") == 1
    assert parts["test"] == whole["test"]
    assert_equal_to_the_bit(*(final_state(config, tmp_path / name) for name in ("whole", "parts")))
    begun, ended = open_run(source).weights, open_run(tmp_path / "whole").weights
    for part in ("trunk", "recurrent"):
        assert_equal_to_the_bit(begun["params"][part], ended["params"][part])
    assert_equal_to_the_bit(begun["batch_stats"], ended["batch_stats"])
    head = [tree["params"]["head"]["dense"]["kernel"] for tree in (begun, ended)]
    assert not np.array_equal(*head)
    # What was trained of frozen features can be trained on.
    state, _ = begin(make(tmp_path / "whole"), tmp_path)
    assert_equal_to_the_bit(state.params, ended["params"])


def test_a_damaged_checkpoint_is_passed_over(source, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    for path in (copy / "checkpoints" / "8").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert load_weights(str(copy)).metadata["step"] == 4
    assert "checkpoint 8 in" in capsys.readouterr().err


def test_parts_can_be_frozen_without_a_source(tmp_path, capsys):
    begin(make("", init__freeze="recurrent/*"), tmp_path)
    assert "without weights of another run" in capsys.readouterr().out
    assert set(states(tmp_path).values()) == {"new"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init__from": "/nonexistent"}, "'init.from': expected .*nothing there: '/nonexist"),
        ({"init__from": "README.md"}, "'init.from': expected the workdir.*found a file: '.*README"),
        ({"init__from": "docs"}, "found a folder without it: '.*docs'"),
        ({"model__width": 8, "model__hidden_units": 9}, "hidden_units is 8 there and 9 here; "),
        ({"init__skip": "*"}, "none that fit and are wanted: 'init.skip' is \\*"),
        ({"init__skip": "haed/*"}, "'haed/\\*', which matches none \\(did you mean 'head/\\*'"),
        ({"init__freeze": "trunk"}, "'init.freeze' expects patterns .* found 'trunk', which"),
        ({"init__freeze": "*"}, "leave something to train, found \\*"),
        (
            {"init__freeze": BELOW, "model__hidden_units": 16},
            "matches 'recurrent/layer_0/bias': expected one of the shape \\(48,\\)",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing(source, tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as error:
        train(make(source, **changes), str(tmp_path / "run"))
    assert "\n" not in str(error.value)
    assert list((tmp_path / "run").iterdir()) == []


def test_what_fits_badly_is_told(source, tmp_path, capsys):
    begin(make(source, model__width=8), tmp_path)
    text = capsys.readouterr().out
    there = make(source).model.width
    assert f"note: most of it does not fit, and is made anew: model.width is {there} there" in text
    begin(make(source, init__skip="head/*"), tmp_path)
    assert "does not fit" not in capsys.readouterr().out


def test_a_file_of_weights_begins_a_run(source, tmp_path, capsys):
    weights = load_weights(str(source))
    arrays = {f"params/{name}": array for name, array in weights.params.items()}
    arrays |= {f"batch_stats/{name}": array for name, array in weights.batch_stats.items()}
    model = {k.removeprefix("model."): v for k, v in weights.metadata["model"].items()}
    norm = weights.metadata["norm"]
    mean, std = (tuple(norm[name].tolist()) for name in ("mean_C", "std_C"))
    file = tmp_path / "a.safetensors"
    names = weights.metadata["class_names"]
    write_weights(file, WeightFile(arrays, model, 10, names, mean, std))
    found = load_weights(str(file))
    assert found.params.keys() == weights.params.keys()
    for name, array in weights.params.items():
        np.testing.assert_array_equal(found.params[name], array)
    state, _ = begin(make(file), tmp_path)
    assert f"weights of {file}\n" in capsys.readouterr().out
    np.testing.assert_array_equal(state.norm["mean_C"], np.array(mean, np.float32))


def test_a_run_without_checkpoints_has_no_weights(source, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(UserError, match=r"'init\.from': expected a good checkpoint in .* none"):
        train(make(copy), str(tmp_path / "run"))
