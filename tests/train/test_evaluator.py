"""An evaluation counts every example once, or says so."""

import threading
import types
from typing import Any

import numpy as np
import pytest

from crnn_jax import tasks
from crnn_jax.config import default_config
from crnn_jax.distributed import PEER_LOST
from crnn_jax.mesh import make_mesh
from crnn_jax.train import watchdog
from crnn_jax.train.evaluator import (
    eval_batch_size,
    evaluator_of,
    make_evaluator,
    result_line,
)


def test_result_line():
    metrics = {"accuracy": 0.93125, "num_correct": 149, "num_examples": 160, "loss": 0.2}
    task = tasks.TASKS["classification"].of(default_config("cnn"), 10)
    assert result_line(task, "test", metrics) == "test accuracy 0.9313 (149/160)"
    with_views = "test accuracy with tta=mirror 0.9313 (149/160)"
    assert result_line(task, "test", metrics, "mirror") == with_views


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
@pytest.mark.parametrize("eval_batch", [1000, 100, 7])
def test_evaluation_counts_each_example_once(tiny, start_run, pipeline, eval_batch):
    config = tiny("cnn", data__pipeline=pipeline, eval__batch_size=eval_batch)
    experiment, dataset, _, _, state = start_run(config)
    results = make_evaluator(experiment, dataset.pipeline("test", eval_batch, experiment.mesh))(
        state
    )
    assert results["num_examples"] == 360
    assert results["accuracy"] == results["num_correct"] / 360


def test_an_evaluation_on_a_cpu_reads_few_examples_at_once(tiny, start_run):
    experiment, dataset, *_ = start_run(tiny("cnn", mesh__data=1))
    assert evaluator_of(experiment, dataset, "test").pipeline.eval_batch_size == 100
    assert eval_batch_size(1000, make_mesh(8)) == 800
    assert eval_batch_size(64, make_mesh(1)) == 64
    gpu: Any = types.SimpleNamespace(devices=np.array([types.SimpleNamespace(platform="gpu")]))
    assert eval_batch_size(1000, gpu) == 1000


@pytest.mark.parametrize("predicts", [False, True])
def test_an_evaluation_whose_data_does_not_come_ends(tiny, start_run, monkeypatch, predicts):
    config = tiny("rnn", mesh__stuck_seconds=0.05)
    experiment, dataset, _, _, state = start_run(config)
    pipeline = dataset.pipeline("test", 200, experiment.mesh)
    batches, ended, found = list(pipeline.eval_inputs()), threading.Event(), []

    def held(self):
        yield batches[0]
        assert ended.wait(30)
        yield batches[1]

    def leave(text, code):
        found.append((text, code))
        ended.set()

    monkeypatch.setattr(type(pipeline), "eval_inputs", held)
    monkeypatch.setattr(watchdog, "leave", leave)
    evaluate = make_evaluator(experiment, pipeline)
    (evaluate.with_predictions if predicts else evaluate)(state)
    ((text, code),) = found  # nothing of the first batch, whose program is compiled
    assert code == PEER_LOST
    assert text.startswith("no batch of an evaluation for 0 s after batch 1 ('mesh.stuck_seconds')")


def test_evaluation_refuses_another_count(tiny, start_run):
    config = tiny("cnn")
    experiment, dataset, _, _, state = start_run(config)
    pipeline = dataset.pipeline("test", 100, experiment.mesh)
    evaluate = make_evaluator(experiment, pipeline)
    assert evaluate(state)["num_examples"] == 360
    pipeline.num_examples += 1  # the compiled program goes on to count 360
    with pytest.raises(AssertionError, match="evaluated 360 examples of a split of 361"):
        evaluate(state)


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_predictions_are_of_every_example_in_order(tiny, start_run, pipeline):
    config = tiny("cnn", data__pipeline=pipeline)
    experiment, dataset, _, _, state = start_run(config)
    evaluate = make_evaluator(experiment, dataset.pipeline("test", 100, experiment.mesh))
    summary, predictions = evaluate.with_predictions(state)
    assert summary == evaluate(state)
    test = dataset.splits["test"]
    assert predictions["probability"].shape == (360, 10)
    assert predictions["weight"].tolist() == [1.0] * 360
    right = predictions["probability"].argmax(axis=1) == test.group_N
    assert right.sum() == summary["num_correct"]
    mean = -np.log(predictions["probability"][np.arange(360), test.group_N]).mean()
    np.testing.assert_allclose(summary["loss"], mean, rtol=1e-4)
