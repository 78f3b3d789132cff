"""A process that makes no step ends; one that does, or evaluates alone, does not."""

import threading
import types

import pytest

from crnn_jax.distributed import PEER_LOST
from crnn_jax.train import watchdog
from crnn_jax.train.watchdog import Watchdog


@pytest.fixture
def clock(monkeypatch):
    """Returns a clock that stands still until its `now` is changed."""
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(watchdog, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_stuck_process_ends_and_says_where(monkeypatch, capfd):
    found, ended = [], threading.Event()

    def leave(text, code):
        found.append((text, code))
        ended.set()

    monkeypatch.setattr(watchdog, "leave", leave)
    with Watchdog(0.01):
        assert ended.wait(60)
    ((text, code),) = found
    assert code == PEER_LOST
    assert "after step 0 ('mesh.stuck_seconds')" in text
    assert "test_watchdog.py" in capfd.readouterr().err  # where it hangs


def test_steps_keep_it_quiet(clock):
    dog = Watchdog(10.0)
    for step in range(5):
        clock.now += 9.0
        assert not dog.is_stuck(clock.now)
        dog.beat(step)
    clock.now += 10.5
    assert dog.is_stuck(clock.now)


def test_it_sleeps_for_0_seconds(clock):
    with Watchdog(0.0) as dog:
        assert "watchdog" not in {thread.name for thread in threading.enumerate()}
        assert not dog.is_stuck(clock.now + 1e9)


@pytest.mark.parametrize("processes", [1, 2])
def test_it_sleeps_in_a_pause_of_a_run_of_one_process(monkeypatch, clock, processes):
    monkeypatch.setattr(watchdog.jax, "process_count", lambda: processes)
    dog = Watchdog(10.0)
    with dog.paused():
        clock.now += 11.0
        assert dog.is_stuck(clock.now) == (processes > 1)
    assert not dog.is_stuck(clock.now)  # the pause's end is a beat
