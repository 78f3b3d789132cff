"""Ends a process of several that makes no step: one that hangs would make all hang for ever."""

import faulthandler
import sys
import threading
import time
from typing import Self

import jax

from crnn_jax.distributed import PEER_LOST
from crnn_jax.ending import leave


class Watchdog:
    """Inside its block the process ends, with `PEER_LOST`, if `beat` is not called for too long.

    A process that died is found by its missing heartbeat; one that is alive and stuck, in a file
    system or a driver, is found by nobody else.
    """

    def __init__(self, seconds: float, active: bool | None = None) -> None:
        """Waits `seconds` (0: for ever); by default active in a run of several processes."""
        self._seconds = seconds
        self._active = (jax.process_count() > 1 if active is None else active) and seconds > 0
        self._last = (0, time.monotonic())
        self._done = threading.Event()

    def beat(self, step: int) -> None:
        """Says that the process has come to `step`."""
        self._last = (step, time.monotonic())

    def __enter__(self) -> Self:
        self.beat(0)
        if self._active:
            threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._seconds / 4)):
            step, since = self._last
            if time.monotonic() - since > self._seconds:
                faulthandler.dump_traceback(file=sys.stderr)
                leave(
                    f"no step for {self._seconds:.0f} s after step {step} ('mesh.stuck_seconds'): "
                    "a process of this run is stuck, so this one ends; the same command on all of "
                    "them goes on from the last checkpoint",
                    PEER_LOST,
                )
                return
