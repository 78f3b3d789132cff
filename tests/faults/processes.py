"""Programs that are signalled, and the wait for the end of a process that is nobody's child."""

import contextlib
import os
import pathlib
import select
import subprocess
import sys
import time


def start(*arguments: str) -> subprocess.Popen[str]:
    """Returns the program `python -m ARGUMENTS`, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_end(pid: int, seconds: float) -> bool:
    """Returns whether the process has ended before so many seconds are over."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            return bool(select.select([handle], [], [], seconds)[0])
        finally:
            os.close(handle)
    return True


def wait_for_worker(pid: int) -> int:
    """Returns the number of the first loader worker of a process, soon after it was started."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # threads and processes come and go
            for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                for child in path.read_text().split():
                    if b"spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                        return int(child)
        time.sleep(0.01)
    raise AssertionError("no worker was started")
