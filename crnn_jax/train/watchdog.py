"""Ends a process that makes no step: it hangs, and so do the others of its run."""

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Iterator
from typing import Self

import jax

from crnn_jax.distributed import PEER_LOST
from crnn_jax.ending import leave


class Watchdog:
    """Inside its block the process ends, with `PEER_LOST`, if `beat` is not called for too long.

    A process that died is found by its missing heartbeat; one that is alive and stuck, in a file
    system, a driver, or the wait for a loader worker that was stopped, is found by nobody else.
    """

    def __init__(self, seconds: float) -> None:
        """Waits `seconds` (0: for ever)."""
        self._seconds = seconds
        self._alone = jax.process_count() == 1
        self._paused = False
        self._last = (0, time.monotonic())
        self._done = threading.Event()

    def beat(self, step: int) -> None:
        """Says that the process has come to `step`."""
        self._last = (step, time.monotonic())

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Lets a run of one process take its time: an evaluation may take long and makes no step.

        Of several, one that is slower than all others would go unseen.
        """
        self._paused = self._alone
        try:
            yield
        finally:
            self.beat(self._last[0])
            self._paused = False

    def is_stuck(self, now: float) -> bool:
        """Returns whether the last beat lies too far before `now`, in seconds of `monotonic`."""
        return not self._paused and 0 < self._seconds < now - self._last[1]

    def __enter__(self) -> Self:
        self.beat(0)
        if self._seconds > 0:
            threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._seconds / 4)):
            if self.is_stuck(time.monotonic()):
                faulthandler.dump_traceback(file=sys.stderr)
                step = self._last[0]
                leave(
                    f"no step for {self._seconds:.0f} s after step {step} ('mesh.stuck_seconds'): "
                    "a process of this run is stuck, so this one ends; the same command on all of "
                    "them goes on from the last checkpoint",
                    PEER_LOST,
                )
                return
