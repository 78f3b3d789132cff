"""Accuracy on worse images, against an evaluation, and the files."""

import json
import shutil

import pytest
from PIL import Image

from crnn_jax.report.robustness import half_interval
from crnn_jax.run import open_run
from crnn_jax.studies import robustness
from crnn_jax.studies.corruptions import CORRUPTIONS
from crnn_jax.train.loop import train

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    from crnn_jax.flags import resolve_config

    folder = tmp_path_factory.mktemp("runs")
    keys = {"model.hidden_units": "16", "duration": "60 steps", "eval.batch_size": "128"}
    train(resolve_config("configs/digits.py:rnn", keys), str(folder / "$a_<"))
    return [folder / "$a_<", shutil.copytree(folder / "$a_<", folder / "_b")]


def test_clean_images_score_as_in_an_evaluation(workdirs):
    run = open_run(workdirs[0])
    expected = run.evaluate("test")
    found = robustness.evaluate(run, 10**6)
    assert len(found) == 1 + 5 * len(CORRUPTIONS)
    assert found[robustness.CLEAN]["num_correct"] == expected["num_correct"]
    assert found[robustness.CLEAN]["num_examples"] == 360
    assert found["noise", 5]["loss"] > found[robustness.CLEAN]["loss"]


def test_runs_stand_beside_each_other(workdirs, tmp_path, capsys):
    argv = [f"--workdir={workdir}" for workdir in workdirs]
    robustness.main([*argv, f"--results={tmp_path}", "--num=130", "--name=both"])
    content = json.loads((tmp_path / "both.json").read_text())
    assert [run["run"] for run in content["runs"]] == ["$a_<", "_b"]  # one data set and model
    for run in content["runs"]:
        assert {row["num_examples"] for row in run["rows"]} == {130}  # within the second batch
        assert run["rows"][0]["size"] is None
    assert content["corruptions"]["blur"]["sizes"] == [0.4, 0.6, 0.7, 0.8, 1.0]
    with Image.open(tmp_path / "both.png") as picture:
        assert picture.width > 800
    assert "130 images" in capsys.readouterr().out


def test_the_interval_is_wilsons():
    assert half_interval(0.5, 100) == pytest.approx(0.0961, abs=1e-4)
    assert half_interval(1.0, 100) == pytest.approx(0.0185, abs=1e-4)
