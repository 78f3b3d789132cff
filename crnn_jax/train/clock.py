"""Where the wall time of a run goes."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Seconds spent in each named phase; a phase inside another one stops the outer's clock."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = time.perf_counter()

    def _settle(self) -> None:
        now = time.perf_counter()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def add(self, seconds: dict[str, float]) -> None:
        """Adds the seconds that a resumed run had spent before."""
        for name, value in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts the block's wall time as `name`."""
        self._settle()
        self._running.append(name)
        try:
            yield
        finally:
            self._settle()
            self._running.pop()

    def read(self, name: str) -> float:
        """Returns the seconds spent in `name` up to now."""
        self._settle()
        return self.seconds.get(name, 0.0)
