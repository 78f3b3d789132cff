"""How a process ends: at once, with one line."""

import os
import signal
import sys
from collections.abc import Callable

# What asks a program to end: Ctrl-C, a batch system or a shutdown, a terminal that is closed.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
FAREWELLS: list[Callable[[], None]] = []  # to be called before an end at once


def leave(text: str, code: int) -> None:
    """Ends this process at once with one line on stderr."""
    print(text, file=sys.stderr, flush=True)
    sys.stdout.flush()
    for farewell in FAREWELLS:
        farewell()
    os._exit(code)  # no exit handlers: JAX's would wait for the others
