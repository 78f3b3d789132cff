"""A phase inside another stops the outer's clock."""

import pytest

from crnn_jax.train import clock as clock_lib
from crnn_jax.train.clock import Clock


def test_nested_phases(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock_lib.time, "perf_counter", lambda: now[0])
    clock = Clock()
    with clock.phase("train"):
        now[0] += 1
        with clock.phase("evaluation"):
            now[0] += 10
        now[0] += 2
        assert clock.read("train") == 3
    now[0] += 100  # outside of any phase
    clock.add({"train": 5.0})
    assert clock.seconds == {"train": 8.0, "evaluation": 10.0}
    assert clock.read("compile") == 0.0


def test_a_phase_that_raises_is_counted(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock_lib.time, "perf_counter", lambda: now[0])
    clock = Clock()

    def fail():
        with clock.phase("setup"):
            now[0] += 4
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert clock.seconds == {"setup": 4.0}
