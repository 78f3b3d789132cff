"""Standard input, output and errors that are closed, full or no longer read."""

import io
import os
import sys
from typing import Any


def open_standard_files() -> None:
    """Opens those of stdin, stdout and stderr that this process was started without, to nothing.

    The next files to be opened would get their numbers, and be written to by what prints there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def flush_or_drop() -> None:
    """Writes what stdout still has to write; drops what cannot be, or it is tried again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def forgive_lost_output() -> None:
    """Makes this process go on where its output cannot be written.

    So it does for `main | head`, for a terminal that is gone, and for a log on a disk that is full.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            setattr(sys, name, _forgiving(stream))


def _forgiving(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    file = _Forgiving(stream.fileno(), "w", closefd=False)
    file.stream = stream  # which would close the file if it were no longer there
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Forgiving(io.FileIO):
    stream: io.TextIOWrapper

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
