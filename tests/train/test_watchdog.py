"""A process that makes no step ends; one that does, or evaluates alone, does not."""

import time

from crnn_jax.distributed import PEER_LOST
from crnn_jax.train import watchdog
from crnn_jax.train.watchdog import Watchdog


def endings(monkeypatch, seconds, beats):
    found = []
    monkeypatch.setattr(watchdog, "leave", lambda text, code: found.append((text, code)))
    with Watchdog(seconds) as dog:
        for step in range(beats):
            time.sleep(0.05)
            dog.beat(step)
        time.sleep(0 if beats else 0.6)
    return found


def test_a_stuck_process_ends_and_says_where(monkeypatch, capfd):
    ((text, code),) = endings(monkeypatch, 0.2, 0)
    assert code == PEER_LOST
    assert "after step 0 ('mesh.stuck_seconds')" in text
    assert "test_watchdog.py" in capfd.readouterr().err  # where it hangs


def test_steps_keep_it_quiet(monkeypatch):
    assert endings(monkeypatch, 0.4, 12) == []


def test_it_sleeps_for_0_seconds(monkeypatch):
    assert endings(monkeypatch, 0.0, 0) == []


def test_it_sleeps_in_a_pause_of_a_run_of_one_process(monkeypatch):
    found = []
    monkeypatch.setattr(watchdog, "leave", lambda text, code: found.append(code))
    with Watchdog(0.1) as dog, dog.paused():
        time.sleep(0.4)
    assert found == []
    monkeypatch.setattr(watchdog.jax, "process_count", lambda: 2)
    with Watchdog(0.1) as dog, dog.paused():
        time.sleep(0.4)
    assert found == [PEER_LOST]
