"""How a process ends: at once, with one line."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

# What asks a program to end: Ctrl-C, a batch system or a shutdown, a terminal that is closed.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
FAREWELLS: list[Callable[[], None]] = []  # to be called before an end at once
_ending = threading.RLock()
_told: list[int] = []  # the signal that the line on stderr was for
_polite = threading.Semaphore(0)  # how many signals may yet be a request


def leave(text: str, code: int) -> None:
    """Ends this process at once with one line on stderr."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
        sys.stdout.flush()
    _exit(code)


def _exit(code: int) -> None:
    for farewell in FAREWELLS:
        farewell()
    os._exit(code)  # no exit handlers: JAX's would wait for the others


def end_at_once() -> None:
    """Makes signals end this process at once, wherever it is, for the rest of its life.

    Python raises `KeyboardInterrupt` in the main thread, when that comes back from compiled code;
    in a callback it is swallowed, and then exit handlers may wait for threads that hang. Here a
    thread of its own reads each signal as it comes. `expect_request` makes the next one a request.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    threading.Thread(target=_read, args=(reader,), daemon=True, name="signals").start()


def end_with(parent: int) -> None:
    """Makes this process end when the one that started it, by its number, is gone."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True, name="parent").start()


def _end_with(parent: int) -> None:
    # Not Linux's signal at the parent's death: that comes when the thread ends that started this
    # process, and of a loader worker it is one of Grain's.
    while os.getppid() == parent:
        time.sleep(1)
    _exit(1)


def expect_request() -> None:
    """Makes the next signal no end but a request, whose handler is the caller's."""
    _polite.release()


def expect_no_request() -> None:
    """Takes back `expect_request`, if no signal has come."""
    _polite.acquire(blocking=False)


def _end(number: int, frame: FrameType | None = None) -> None:
    del frame
    # The main thread's handler and the thread that reads signals may both come here. The handler
    # may be interrupted in here by the next signal: then the same thread comes twice.
    if not _ending.acquire(blocking=False):
        time.sleep(10)  # the other one ends the process meanwhile
    if not _told:
        # Not by `print`: the main thread may hang in one.
        os.write(2, b"interrupted; run the same command again to go on\n")
        _told.append(number)
    _exit(128 + _told[0])


def _read(reader: int) -> None:
    while content := os.read(reader, 1):
        if content[0] in SIGNALS and not _polite.acquire(blocking=False):
            _end(content[0])
