"""Worker processes of a stream: signals are the main process's matter, and none outlives it."""

import contextlib
import multiprocessing
import os
import pathlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from multiprocessing import process, resource_tracker, util
from typing import Any

from crnn_jax.ending import FAREWELLS, SIGNALS, end_with
from crnn_jax.errors import UserError

# A worker that is stopped or hangs is killed so long after it was asked to end.
PATIENCE_SECONDS = 5.0
_KILLED = "Worker process was terminated unexpectedly"  # Grain's words
_PIPE = re.compile(r"spawn_main\(.*pipe_handle=([0-9]+)\)")
_spawn = util.spawnv_passfds


def start_worker(index: int, count: int) -> None:
    """Makes this worker ignore what the main process answers, and end when that is gone."""
    del index, count
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """Makes this process, one of `multiprocessing`, end when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    end_with(parent.pid)


def _kill_all() -> None:
    for child in multiprocessing.active_children():
        child.kill()
    for number in _starting():
        with contextlib.suppress(OSError):
            os.kill(number, signal.SIGKILL)


def _starting() -> Iterator[int]:
    """Yields the numbers of the workers that `multiprocessing` may not count yet, on Linux.

    One that is still reading what it has to do would print a traceback when this process is gone.
    """
    for path in pathlib.Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # threads and processes come and go
            for number in path.read_text().split():
                command = pathlib.Path(f"/proc/{number}/cmdline").read_bytes()
                if b"--multiprocessing-fork" in command.split(b"\0"):
                    yield int(number)


# One that is stopped does not see that its main process has gone.
FAREWELLS.append(_kill_all)


def _spawn_and_drain(path: Any, args: Any, passfds: Any) -> int:
    """Starts a process as Python does, and reads in its place what it has not read when it ends.

    Python writes what a worker has to do into a pipe, and waits until that is read. It keeps the
    reading end open meanwhile, so that a worker which is killed while it starts would leave it
    waiting for ever.
    """
    pid = _spawn(path, args, passfds)
    if found := _PIPE.search(" ".join(os.fsdecode(word) for word in args)):
        reader = os.dup(int(found[1]))
        threading.Thread(target=_drain, args=(pid, reader), daemon=True, name="drain").start()
    return pid


def _drain(pid: int, reader: int) -> None:
    with contextlib.suppress(OSError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it stays for its owner to wait for
        while os.read(reader, 1 << 16):
            pass
    os.close(reader)


if hasattr(os, "waitid"):
    util.spawnv_passfds = _spawn_and_drain


def elements(
    make_iterator: Callable[[int], Any], first: int, describe: Callable[[int], str]
) -> Generator[Any]:
    """Yields elements first, first + 1, ... of an iterator whose workers may be killed.

    A worker that was killed is started again; if that ends too before the next element, the run
    ends.

    Args:
      make_iterator: returns a Grain iterator that begins at the element of a number.
      first: number of the first element.
      describe: names the content of the element of a number.

    Raises:
      UserError: a worker was killed twice at one element; names it.
    """
    number, failed = first, -1
    while True:
        others = set(multiprocessing.active_children())
        iterator = make_iterator(number)
        try:
            with _signals_blocked():
                element = _next_or_error(iterator)
            while not isinstance(element, BaseException):
                yield element
                number += 1
                element = _next_or_error(iterator)
            if isinstance(element, StopIteration):
                return
            if _KILLED not in str(element):
                raise element
            if failed == number:
                raise UserError(_killed_twice(element, describe(number))) from None
            failed = number
            text = "a loader worker was killed (out of memory?); started again"
            print(text, file=sys.stderr, flush=True)
        finally:
            _close(iterator, others)


def _next_or_error(iterator: Iterator[Any]) -> Any:
    try:
        return next(iterator)
    except (StopIteration, RuntimeError) as error:
        return error


def _killed_twice(error: BaseException, content: str) -> str:
    code = str(error).partition("exit code ")[2].partition(".")[0]
    return (
        f"expected a loader worker to read {content}, found it killed twice (exit code {code}): "
        "is memory short? Lower 'data.num_workers' or 'batch_size', or set 'data.num_workers=0'"
    )


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Blocks signals in this thread, and so in workers that start inside, till they ignore them.

    This process gets them in another thread, or at the end of the block.
    """
    old = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        # Started with the first worker, it would unblock them before the worker is there.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _close(iterator: Any, others: set[process.BaseProcess]) -> None:
    """Ends the iterator's workers: those beside the `others`, which were there before."""
    workers = set(multiprocessing.active_children()) - others

    def kill() -> None:
        for worker in workers:
            worker.kill()

    timer = threading.Timer(PATIENCE_SECONDS, kill)
    timer.daemon = True
    timer.start()
    try:
        iterator.close()
    finally:
        timer.cancel()
