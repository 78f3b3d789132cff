"""A run of each released version opens, evaluates and goes on.

tests/data_files/run_VERSION is the workdir of a training of a few seconds with that version's code:
a CRNN of width 4 on the digits, and the score that its result.json says. Make one before a release:

python -m crnn_jax.main --config=configs/digits.py:crnn --workdir=tests/data_files/run_VERSION
    --config.model.width=4 --config.model.hidden_units=16 --config.model.num_conv_layers=2
    --config.model.dropout=0 --config.batch_size=64 --config.optim.learning_rate=0.01
    --config.optim.warmup="1 epochs" --config.duration="12 epochs" --config.eval.every="6 epochs"
    --config.log.every="6 epochs" --config.log.tracker=none --config.data.validation=0.1
    --config.checkpoint.every="0 steps" --config.checkpoint.keep_latest=1
    --config.checkpoint.keep_best=False
"""

import json
import os
import pathlib
import re
import shutil

import pytest

import crnn_jax
from crnn_jax.train.loop import train
from crnn_jax.workdir import load_config

TESTS = pathlib.Path(__file__).parent
RUNS = {path.name.removeprefix("run_"): path for path in TESTS.glob("data_files/run_*")}


@pytest.fixture(params=RUNS)
def stored(request, tmp_path):
    """A copy of a kept run, and what its result.json says of the test split."""
    workdir = pathlib.Path(shutil.copytree(RUNS[request.param], tmp_path / "run"))
    return workdir, json.loads((workdir / "result.json").read_text())["test"]


def test_each_released_version_has_one():
    text = (TESTS.parent / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d\S+) - \d", text, re.MULTILINE)
    assert released
    assert set(released) == set(RUNS)


def test_it_opens_with_the_score_that_it_had(stored):
    workdir, expected = stored
    found = crnn_jax.load(workdir).evaluate("test")
    counts = ("num_correct", "num_examples", "accuracy")
    assert {name: found[name] for name in counts} == {name: expected[name] for name in counts}
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.long
def test_it_is_finished_and_may_be_extended(stored, capsys):
    workdir, expected = stored
    config, (step,) = load_config(workdir), os.listdir(workdir / "checkpoints")
    assert train(config, str(workdir))["test"] == expected
    config.duration = "13 epochs"
    result = train(config, str(workdir), extend=True)
    assert f"resuming at step {step}/" in capsys.readouterr().out
    assert result["test"]["accuracy"] > 0.8
