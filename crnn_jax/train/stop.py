"""A polite end: SIGTERM and Ctrl-C ask the loop to save and leave after the step under way."""

import signal
import threading
from types import FrameType
from typing import Self


class StopSignal:
    """Inside its block, `requested` is the signal number received, or None. A second one kills."""

    def __init__(self) -> None:
        self.requested: int | None = None
        self._old: dict[int, signal.Handlers] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = number
        signal.signal(number, self._old[number])

    def __enter__(self) -> Self:
        # Python installs signal handlers in the main thread only (a notebook may train elsewhere).
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._handle)  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
