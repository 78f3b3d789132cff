"""A process that makes no step ends; one that does, or is alone, does not."""

import time

from crnn_jax.distributed import PEER_LOST
from crnn_jax.train import watchdog
from crnn_jax.train.watchdog import Watchdog


def endings(monkeypatch, seconds, active, beats):
    found = []
    monkeypatch.setattr(watchdog, "leave", lambda text, code: found.append((text, code)))
    with Watchdog(seconds, active) as dog:
        for step in range(beats):
            time.sleep(0.05)
            dog.beat(step)
        time.sleep(0 if beats else 0.6)
    return found


def test_a_stuck_process_ends_and_says_where(monkeypatch, capfd):
    ((text, code),) = endings(monkeypatch, 0.2, True, 0)
    assert code == PEER_LOST
    assert "after step 0 ('mesh.stuck_seconds')" in text
    assert "test_watchdog.py" in capfd.readouterr().err  # where it hangs


def test_steps_keep_it_quiet(monkeypatch):
    assert endings(monkeypatch, 0.4, True, 12) == []


def test_it_sleeps_for_one_process_and_for_0_seconds(monkeypatch):
    assert endings(monkeypatch, 0.1, None, 0) == []
    assert endings(monkeypatch, 0.0, True, 0) == []
