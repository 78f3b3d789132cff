"""A polite end: a signal asks the loop to save and leave after the step under way."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Self

import jax

from crnn_jax.ending import SIGNALS, expect_no_request, expect_request


class StopRequested(BaseException):
    """Raised by `StopSignal.interruptible` in the midst of what a signal need not wait for."""


class StopSignal:
    """Inside its block, `requested` is the signal number received, or None. A second one kills.

    In a run of several processes JAX catches SIGTERM itself (a handler of ours would switch that
    off), and `poll` tells all processes to stop at the same step, whichever of them received it.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._alone = jax.process_count() == 1
        self._old: dict[int, signal.Handlers] = {}
        self._interruptible = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._alone:
            signal.raise_signal(signal.SIGTERM)
            return
        self.requested = number
        for other, handler in self._old.items():
            signal.signal(other, handler)
        if self._interruptible:
            raise StopRequested

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raises `StopRequested` as soon as a signal has come, and for errors that come after it.

        What the block computes must be of no further use, as input for another step is not. It does
        so in a run of one process alone: several have to stop at the same step.
        """
        self._interruptible = self._alone
        try:
            if self._alone and self.requested is not None:
                raise StopRequested
            yield
        except Exception as error:  # the same signal may have ended a process that the block needs
            if self._alone and self.requested is not None:
                raise StopRequested from error
            raise
        finally:
            self._interruptible = False

    def poll(self, step: int) -> None:
        """Asks whether to stop after `step`; all processes call it at the same steps."""
        if not self._alone:
            from jax.experimental import multihost_utils

            if multihost_utils.reached_preemption_sync_point(step):
                self.requested = signal.SIGTERM

    def __enter__(self) -> Self:
        # Python installs signal handlers in the main thread only (a notebook may train elsewhere).
        if threading.current_thread() is threading.main_thread():
            expect_request()
            for number in SIGNALS:
                by_jax = number == signal.SIGTERM and not self._alone
                # Under nohup a closed terminal is no reason to stop.
                hup = signal.Signals(number).name == "SIGHUP"
                ignored = hup and signal.getsignal(number) == signal.SIG_IGN
                if not by_jax and not ignored:
                    self._old[number] = signal.signal(number, self._handle)  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if self._old:
            expect_no_request()
