"""Ends a process that makes no step: it hangs, and so do the others of its run."""

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Generator, Iterator
from typing import Self, TypeVar

import jax

from crnn_jax.distributed import PEER_LOST
from crnn_jax.ending import leave

T = TypeVar("T")


class Watchdog:
    """Inside its block the process ends, with `PEER_LOST`, if `beat` is not called for too long.

    A process that died is found by its missing heartbeat; one that is alive and stuck, in a file
    system, a driver, or the wait for a loader worker that was stopped, is found by nobody else.

    Time is counted by a thread that waits a second at a time. While the whole process is stopped
    (SIGSTOP, a suspended machine) or starved, it waits too, and that is not held against the run.
    """

    def __init__(self, seconds: float, of: str = "step") -> None:
        """Waits `seconds` (0: for ever) for each "step", or "batch of an evaluation"."""
        self._seconds = seconds
        self._of = of
        self._alone = jax.process_count() == 1
        self._paused = False
        self._waited = 0.0  # seconds, by the thread alone
        self._last = (0, 0.0)  # the step, and what was waited then
        self._done = threading.Event()

    def beat(self, step: int) -> None:
        """Says that the process has come to `step`."""
        self._last = (step, self._waited)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Lets a run of one process take its time: an evaluation may take long and makes no step.

        With several, one that is slower than all others would go unseen.
        """
        self._paused = self._alone
        try:
            yield
        finally:
            self.beat(self._last[0])
            self._paused = False

    def tick(self, expected: float, found: float) -> None:
        """Counts a wait of `found` seconds that should have been `expected`: at most twice that."""
        self._waited += min(found, 2 * expected)

    def is_stuck(self) -> bool:
        """Returns whether too much was waited since the last beat."""
        return not self._paused and 0 < self._seconds < self._waited - self._last[1]

    def __enter__(self) -> Self:
        self.beat(0)
        if self._seconds > 0:
            threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _watch(self) -> None:
        expected, before = min(1.0, self._seconds / 4), time.monotonic()
        while not self._done.wait(expected):
            now = time.monotonic()
            self.tick(expected, now - before)
            before = now
            if self.is_stuck():
                faulthandler.dump_traceback(file=sys.stderr)
                step = self._last[0]
                name = self._of.partition(" ")[0]
                leave(
                    f"no {self._of} for {self._seconds:.0f} s after {name} {step} "
                    "('mesh.stuck_seconds'): a process of this run is stuck, so this one ends; "
                    "give all of them the same command again: a training goes on from its last "
                    "checkpoint",
                    PEER_LOST,
                )
                return


def watched(batches: Generator[T], seconds: float) -> Generator[T]:
    """Yields the batches of an evaluation, and closes their generator.

    The process ends, as in a training, if a batch does not come within `seconds`. What is done with
    it may take longer in a run of one process; the first one brings a compilation.
    """
    with contextlib.closing(batches), Watchdog(seconds, "batch of an evaluation") as watchdog:
        for number, batch in enumerate(batches, start=1):
            watchdog.beat(number)
            with watchdog.paused():
                yield batch
