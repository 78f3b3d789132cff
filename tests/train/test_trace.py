"""A trace holds the steps that were asked for; what cannot be traced is said."""

import pytest

from crnn_jax.train.clock import Clock
from crnn_jax.train.trace import StepTrace


@pytest.fixture
def calls(monkeypatch):
    found = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda *a, **k: found.append("start"))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: found.append("stop"))
    return found


def run(calls, folder, window, start_step, steps):
    with StepTrace(window, folder, start_step, Clock()) as trace:
        for step in steps:
            assert trace.run(step, lambda step: calls.append(step) or 2 * step, step) == 2 * step
    return calls


def test_steps_are_counted_from_the_resume(calls, tmp_path):
    found = run(calls, tmp_path, "2:3", 10, range(11, 16))
    assert found == [11, "start", 12, 13, "stop", 14, 15]


def test_whole_programs_are_traced(calls, tmp_path):
    assert run(calls, tmp_path, "2:5", 0, (4, 8, 12)) == ["start", 4, 8, "stop", 12]


def test_no_window_no_trace(calls, tmp_path):
    assert run(calls, tmp_path, "", 0, (1, 2)) == [1, 2]


def test_a_run_that_ends_early_ends_its_trace(calls, tmp_path, capsys):
    assert run(calls, tmp_path, "2:9", 0, (1, 2)) == [1, "start", 2, "stop"]
    run(calls, tmp_path, "7:9", 0, (1, 2))
    assert "no trace: the run ended before step 7" in capsys.readouterr().out
