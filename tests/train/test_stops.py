"""Stops of the loop: what a signal saves, and what a kill after the result has cost."""

import itertools
import json
import os
import signal

import pytest

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.data.resident import ResidentPipeline
from crnn_jax.data.streaming import StreamingPipeline
from crnn_jax.train.evaluator import Evaluator
from crnn_jax.train.loop import train
from tests.train.test_loop import assert_equal_to_the_bit, final_state

pytestmark = pytest.mark.long


def test_a_stop_saves_though_the_same_signal_ended_the_loader(tiny, tmp_path, monkeypatch):
    config = tiny("rnn", data__pipeline="streaming", checkpoint__every="100 steps")
    train_inputs = StreamingPipeline.train_inputs

    def killed(self, start_step):
        yield from itertools.islice(train_inputs(self, start_step), 3)
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("Worker process was terminated unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(StreamingPipeline, "train_inputs", killed)
        with pytest.raises(SystemExit) as stop:
            train(config, str(tmp_path))
    assert stop.value.code == 128 + signal.SIGTERM
    assert final_state(config, tmp_path)[0] == 3
    train(config, str(tmp_path))
    steps = [line["step"] for line in map(json.loads, (tmp_path / "metrics.jsonl").open())]
    assert steps == [3, 6, 9, 12, 12]  # the last line is the test's


def test_a_signal_after_the_last_step_is_answered(tiny, tmp_path, monkeypatch):
    save = Checkpoints.save

    def interrupted(self, step, *rest):
        os.kill(os.getpid(), signal.SIGINT)
        return save(self, step, *rest)

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    with pytest.raises(SystemExit) as stop:
        train(tiny("rnn", checkpoint__every="12 steps"), str(tmp_path))
    assert stop.value.code == 128 + signal.SIGINT
    assert final_state(tiny("rnn"), tmp_path)[0] == 12


def test_lines_lost_after_the_result_are_written_again(tiny, tmp_path):
    config = tiny("rnn", eval__tta="mirror")
    result = train(config, str(tmp_path))
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    assert "test_tta/accuracy" in lines[-1]
    for left in ("".join(lines[:-1]), "".join(lines[:-2]), "".join(lines[:-2]) + lines[-2][:20]):
        path.write_text(left)
        assert train(config, str(tmp_path)) == json.loads(json.dumps(result))
        assert path.read_text() == whole


def test_a_signal_in_a_validation_saves_and_the_next_start_validates(tiny, tmp_path, monkeypatch):
    keys = {"data__validation": 0.2, "eval__batch_size": 16, "checkpoint__every": "12 steps"}
    config = tiny("rnn", **keys)
    whole = train(config, str(tmp_path / "whole"))
    eval_inputs, batches = ResidentPipeline.eval_inputs, []

    def interrupted(self):
        for batch in eval_inputs(self):
            batches.append(batch)
            if len(batches) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    def never(self, totals, step):
        raise AssertionError("it went on to the end")

    with monkeypatch.context() as patch:
        patch.setattr(ResidentPipeline, "eval_inputs", interrupted)
        patch.setattr(Evaluator, "_summary", never)
        with pytest.raises(SystemExit) as stop:
            train(config, str(tmp_path / "a"))
    assert stop.value.code == 128 + signal.SIGTERM
    assert len(batches) == 2
    assert final_state(config, tmp_path / "a")[0] == 6
    result = train(config, str(tmp_path / "a"))
    assert result["test"] == whole["test"]
    found = [read_scores(tmp_path / name) for name in ("whole", "a")]
    assert found[0] == found[1]
    assert [step for step, _ in found[0]] == [6, 12]
    assert_equal_to_the_bit(*(final_state(config, tmp_path / n) for n in ("whole", "a")))
    assert Checkpoints(tmp_path / "a" / "checkpoints", keep_latest=1, keep_best=True).score(12)


def read_scores(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    name = "validation/accuracy"
    return [(line["step"], line[name]) for line in lines if name in line]


def test_a_signal_before_the_last_validation_costs_no_line(tiny, tmp_path, monkeypatch):
    config = tiny("rnn", data__validation=0.2, eval__every="0 steps")
    evaluate = Evaluator.__call__

    def interrupted(self, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "__call__", interrupted)
        with pytest.raises(SystemExit):
            train(config, str(tmp_path))
    assert read_scores(tmp_path) == []
    train(config, str(tmp_path))
    assert [step for step, _ in read_scores(tmp_path)] == [12]


def test_a_signal_while_the_last_checkpoint_is_written_waits_for_it(tiny, tmp_path, monkeypatch):
    wait = Checkpoints.wait

    def interrupted(self):
        if self._pending is not None and self._pending[0] == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        return wait(self)

    monkeypatch.setattr(Checkpoints, "wait", interrupted)
    with pytest.raises(SystemExit) as stop:
        train(tiny("rnn", checkpoint__every="0 steps"), str(tmp_path))
    assert stop.value.code == 128 + signal.SIGTERM
    assert final_state(tiny("rnn"), tmp_path)[0] == 12
