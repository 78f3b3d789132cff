"""A Sequencer end to end: resumed, streamed and on eight devices."""

import json

import jax
import numpy as np

from crnn_jax.run import open_run
from crnn_jax.train.loop import train


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["train/loss"]) for line in lines if "train/loss" in line]


def parameters(workdir):
    return jax.tree.leaves(jax.device_get(open_run(workdir).state.params))


def test_resumed_streamed_and_on_eight_devices(tiny, tmp_path):
    def config(**changes):
        depth = {"model__stochastic_depth": 0.3, "mesh__data": 1}
        return tiny("sequencer", **{**depth, **changes})

    whole, streamed = tmp_path / "whole", tmp_path / "streamed"
    train(config(), str(whole))
    train(config(data__pipeline="streaming"), str(streamed))
    expected = parameters(whole)
    for other, value in zip(parameters(streamed), expected, strict=True):
        np.testing.assert_array_equal(other, value)
    # Resumed: as if it had been killed after the checkpoint of step 8.
    for name in ("result.json", "checkpoints/12"):
        path = whole / name
        path.rename(tmp_path / path.name)
    train(config(), str(whole))
    for other, value in zip(parameters(whole), expected, strict=True):
        np.testing.assert_array_equal(other, value)
    train(config(mesh__data=8), str(tmp_path / "eight"))
    for (step, loss), (_, other) in zip(losses(streamed), losses(tmp_path / "eight"), strict=True):
        np.testing.assert_allclose(loss, other, rtol=1e-4, err_msg=str(step))
