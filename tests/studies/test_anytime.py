"""Accuracy and FLOPs after each step, against an evaluation and numbers by hand."""

import json

import jax.numpy as jnp
import pytest
from PIL import Image

from crnn_jax.config import default_config
from crnn_jax.models import build_model
from crnn_jax.run import open_run
from crnn_jax.studies import anytime
from crnn_jax.train.loop import train

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    from crnn_jax.flags import resolve_config

    folder = tmp_path_factory.mktemp("run")
    keys = {"model.hidden_units": "16", "duration": "30 steps", "eval.batch_size": "128"}
    train(resolve_config("configs/digits.py:rnn", keys), str(folder))
    return folder


def test_the_last_step_is_the_evaluation(workdir):
    run = open_run(workdir)
    after, exits = anytime.evaluate(run, "test", (0.0, 1.1))
    expected = run.evaluate("test")
    assert len(after) == 8
    assert after[-1]["num_correct"] == expected["num_correct"]
    assert after[-1]["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert {row["num_examples"] for row in after} == {360}  # in three batches, padded
    # Who is content with anything leaves after the first step, who never is after the last.
    assert [row["num_correct"] for row in exits] == [after[0]["num_correct"],
                                                     after[-1]["num_correct"]]  # fmt: skip
    assert [row["mean_steps"] for row in exits] == [1, 8]


def test_flops_by_hand():
    config = default_config("rnn").model
    config.hidden_units = 5
    model = build_model(config, 10, jnp.float32)
    step = 2 * (8 * 15 + 5 * 15 + 5 * 10)  # a row's projection, the state's, and the head
    assert anytime.flops_after(model, (8, 8, 1), 8) == [n * step for n in range(1, 9)]


def test_a_trunk_over_the_image_counts_in_full_and_over_frames_by_the_frame():
    def model(name):
        config = default_config(name).model
        sizes = {"width": 4, "stage_multipliers": (2,), "num_conv_layers": 1, "hidden_units": 5}
        config.update({**sizes, **({"num_frames": 4} if name == "lrcn" else {})})
        return build_model(config, 10, jnp.float32)

    trunk, recurrent = 2 * 64 * 9 * 8, 2 * ((4 * 8) * 15 + 5 * 15)
    found = anytime.flops_after(model("crnn"), (8, 8, 1), 4)
    assert found == [trunk + n * (recurrent + 2 * 50) for n in range(1, 5)]
    found = anytime.flops_after(model("lrcn"), (8, 8, 1), 4)
    assert [flops / found[0] for flops in found] == pytest.approx([1, 2, 3, 4])


def test_files_are_written(workdir, tmp_path, capsys):
    anytime.main([f"--workdir={workdir}", f"--results={tmp_path}"])
    content = json.loads((tmp_path / "anytime_digits_rnn.json").read_text())
    assert [row["step"] for row in content["after"]] == list(range(1, 9))
    assert [row["threshold"] for row in content["exits"]] == list(anytime.THRESHOLDS)
    costs = [row["flops_per_image"] for row in content["exits"]]
    assert costs == sorted(costs)  # the surer it has to be, the longer it reads
    with Image.open(tmp_path / "anytime_digits_rnn.png") as picture:
        assert picture.width > 800
    assert "| 8 of 8 steps |" in capsys.readouterr().out


def test_a_run_without_steps_is_refused(finished, capsys):
    with pytest.raises(SystemExit):
        anytime.main([f"--workdir={finished('cnn')}"])
    assert "it has no single recurrence over a sequence" in capsys.readouterr().err
