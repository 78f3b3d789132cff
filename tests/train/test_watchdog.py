"""A process that makes no step ends; one that does, or evaluates alone, does not."""

import threading

import pytest

from crnn_jax.data.resident import ResidentPipeline
from crnn_jax.distributed import PEER_LOST
from crnn_jax.train import watchdog
from crnn_jax.train.loop import train
from crnn_jax.train.watchdog import Watchdog


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


def test_steps_keep_it_quiet():
    dog = Watchdog(10.0)
    for step in range(5):
        dog.tick(9.0, 9.0)
        assert not dog.is_stuck()
        dog.beat(step)
    dog.tick(9.0, 9.0)
    dog.tick(1.5, 1.5)
    assert dog.is_stuck()


def test_a_process_that_was_stopped_for_an_hour_is_not_stuck():
    dog = Watchdog(10.0)
    dog.tick(1.0, 3600.0)
    assert not dog.is_stuck()
    for _ in range(5):
        dog.tick(1.0, 3600.0)
    assert dog.is_stuck()


def test_it_sleeps_for_0_seconds():
    with Watchdog(0.0) as dog:
        assert "watchdog" not in {thread.name for thread in threading.enumerate()}
        dog.tick(1e9, 1e9)
        assert not dog.is_stuck()


@pytest.mark.parametrize("processes", [1, 2])
def test_it_sleeps_in_a_pause_of_a_run_of_one_process(monkeypatch, processes):
    monkeypatch.setattr(watchdog.jax, "process_count", lambda: processes)
    dog = Watchdog(10.0)
    with dog.paused():
        dog.tick(11.0, 11.0)
        assert dog.is_stuck() == (processes > 1)
    assert not dog.is_stuck()  # the pause's end is a beat


def test_a_training_whose_first_batch_does_not_come_ends(tiny, tmp_path, monkeypatch):
    found, ended = [], threading.Event()
    real = ResidentPipeline.train_inputs

    def held(self, start_step):
        assert ended.wait(30)
        yield from real(self, start_step)

    def leave(text, code):
        found.append((text, code))
        ended.set()

    monkeypatch.setattr(ResidentPipeline, "train_inputs", held)
    monkeypatch.setattr(watchdog, "leave", leave)
    train(tiny("rnn", mesh__stuck_seconds=0.2, duration="1 steps"), str(tmp_path))
    text, code = found[0]
    assert code == PEER_LOST
    assert text.startswith("no step for 0 s after step 0 ('mesh.stuck_seconds')")
