"""Stops of the loop: what a signal saves, and what a kill after the result has cost."""

import itertools
import json
import os
import signal

import pytest

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.data.streaming import StreamingPipeline
from crnn_jax.train.loop import train
from tests.train.test_loop import final_state


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
