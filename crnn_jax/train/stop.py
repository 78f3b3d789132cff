"""A polite end: SIGTERM and Ctrl-C ask the loop to save and leave after the step under way."""

import signal
import threading
from types import FrameType
from typing import Self

import jax


class StopSignal:
    """Inside its block, `requested` is the signal number received, or None. A second one kills.

    In a run of several processes JAX catches SIGTERM itself (a handler of ours would switch that
    off), and `poll` tells all processes to stop at the same step, whichever of them received it.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._alone = jax.process_count() == 1
        self._old: dict[int, signal.Handlers] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._alone:
            signal.raise_signal(signal.SIGTERM)
            return
        self.requested = number
        signal.signal(number, self._old[number])

    def poll(self, step: int) -> None:
        """Asks whether to stop after `step`; all processes call it at the same steps."""
        if not self._alone:
            from jax.experimental import multihost_utils

            if multihost_utils.reached_preemption_sync_point(step):
                self.requested = signal.SIGTERM

    def __enter__(self) -> Self:
        # Python installs signal handlers in the main thread only (a notebook may train elsewhere).
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGTERM, signal.SIGINT) if self._alone else (signal.SIGINT,)
            for number in numbers:
                self._old[number] = signal.signal(number, self._handle)  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
