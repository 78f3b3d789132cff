"""The processes of one run: how they find each other, speak with one voice, and end together.

Every process runs the same command. Where it finds the others is looked up in this order:

1. `--coordinator=HOST:PORT --num_processes=N --process_id=I`, or `CRNN_JAX_COORDINATOR`,
   `CRNN_JAX_NUM_PROCESSES` and `CRNN_JAX_PROCESS_ID` in the environment; in an Indexed Job of
   Kubernetes (a JobSet's) the last may be left to `JOB_COMPLETION_INDEX`.
2. `--coordinator=auto`: JAX asks the cluster, as on a Cloud TPU pod.
3. A SLURM job step of several tasks, or a GKE TPU slice of several hosts, by their own variables.

Otherwise the run is one process.
"""

import atexit
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import jax
import numpy as np

from crnn_jax.ending import FAREWELLS, leave
from crnn_jax.errors import UserError, printable

T = TypeVar("T")

PEER_LOST = 75  # exit code: the run is incomplete through no fault of its own; start it again
# After so long without a sign of life a process counts as dead and JAX ends the others.
HEARTBEAT_SECONDS = 30
# A server that still answers as it is taken down aborts (gRPC: `queue.Pop() == nullptr`).
SETTLE_SECONDS = 1.0
# Says why a process has ended where JAX itself ended it, at once and without Python: a child that
# outlives it and reads, at its end, an empty line of farewell.
_WITNESS = "import sys; sys.stdin.buffer.read() or print(sys.argv[1], file=sys.stderr, flush=True)"
_LOST = (
    "gloo nccl heartbeat coordination preempted unavailable deadline_exceeded aborted "
    "connection_reset connection_closed connection_refused broken_pipe socket_closed"
).split()
_MOST_SHOWN = 200  # bytes of what a process has
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")


def find_processes(
    environ: Mapping[str, str], coordinator: str = "", num_processes: str = "", process_id: str = ""
) -> dict[str, Any] | None:
    """Returns the arguments of `jax.distributed.initialize`, or None for a single process.

    Args:
      environ: as `os.environ`.
      coordinator: from the command line, as are the others; empty: not given there.
      num_processes: N.
      process_id: 0..N-1.

    Raises:
      UserError: some of the three are given and others are not, or are no numbers in range.
    """
    given = {
        "coordinator": coordinator or environ.get("CRNN_JAX_COORDINATOR", ""),
        "num_processes": num_processes or environ.get("CRNN_JAX_NUM_PROCESSES", ""),
        "process_id": process_id or environ.get("CRNN_JAX_PROCESS_ID", ""),
    }
    if given["coordinator"] == "auto":
        return {}
    if any(given.values()):
        given["process_id"] = given["process_id"] or environ.get("JOB_COMPLETION_INDEX", "")
        return _explicit(given)
    slurm = all(name in environ for name in _SLURM) and environ.get("SLURM_NTASKS", "1") != "1"
    tpu_hosts = environ.get("TPU_WORKER_HOSTNAMES", "").count(",") + 1
    return {} if slurm or tpu_hosts > 1 else None


def _explicit(given: dict[str, str]) -> dict[str, Any] | None:
    for name, value in given.items():
        if not value:
            raise UserError(
                f"several processes expect --coordinator=HOST:PORT, --num_processes and "
                f"--process_id (or CRNN_JAX_* in the environment), found no {name}"
            )
    host, _, port = given["coordinator"].rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--coordinator expects HOST:PORT or auto, found {given['coordinator']}")
    for name in ("num_processes", "process_id"):
        if not given[name].isdecimal():
            raise UserError(f"--{name} expects a number, found '{given[name]}'")
    count, index = int(given["num_processes"]), int(given["process_id"])
    if index >= count:
        raise UserError(f"--process_id expects 0 to {count - 1}, found {index}")
    if count == 1:
        return None
    return {
        "coordinator_address": given["coordinator"],
        "num_processes": count,
        "process_id": index,
    }


def start(coordinator: str = "", num_processes: str = "", process_id: str = "") -> None:
    """Joins this process to the others of the run; call it before anything touches a device.

    Raises:
      UserError: see `find_processes`, or the others were not met within five minutes.
    """
    arguments = find_processes(os.environ, coordinator, num_processes, process_id)
    if arguments is None:
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=300,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        where = arguments.get("coordinator_address", "the cluster")
        raise UserError(
            f"expected to meet the other processes at {where}, found: {error}"
        ) from error
    from jax._src.distributed import global_state  # as Orbax does: there is no public name

    if global_state.service is not None:
        global_state.service = _Settled(global_state.service)


class _Settled:
    """The coordinator's server; at its end it lets the last calls of the other processes pass.

    JAX takes the server down as soon as all have said goodbye. A call still being answered then
    ends this process in an abort after all its work is done.
    """

    def __init__(self, service: Any) -> None:
        self._service = service

    def shutdown(self) -> None:
        time.sleep(SETTLE_SECONDS)
        self._service.shutdown()


def _watch_over_this_process() -> None:
    command = [sys.executable, "-I", "-S", "-c", _WITNESS, _lost_text()]
    witness = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def farewell() -> None:
        with contextlib.suppress(OSError, ValueError):
            witness.communicate(b"farewell", timeout=5)

    FAREWELLS.append(farewell)
    atexit.register(farewell)


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Ends this process at once if the block fails in a run of several processes.

    JAX would wait at exit for processes that are gone or wait themselves. Exit codes: 2 for a
    user's mistake, `PEER_LOST` where another process has ended (134, an abort, where JAX's own
    heartbeat found that first), 1 for anything else.
    """
    if jax.process_count() == 1:
        yield
        return
    _watch_over_this_process()
    try:
        yield
    except UserError as error:
        leave(f"error: {printable(str(error))}", 2)
    except KeyboardInterrupt:
        leave("interrupted; run the same command again to go on", 130)
    except Exception as error:
        if is_lost_peer(error):
            first = str(error).strip().partition("\n")[0][:200]
            leave(f"{_lost_text()} ({type(error).__name__}: {first})", PEER_LOST)
        else:
            leave(traceback.format_exc(), 1)


def is_lost_peer(error: BaseException) -> bool:
    """Returns whether the error is what a collective says when another process has ended."""
    text = f"{type(error).__name__} {error}".lower().replace(" ", "_")
    return isinstance(error, (RuntimeError, ValueError, OSError)) and any(k in text for k in _LOST)


def _lost_text() -> str:
    return (
        f"process {jax.process_index()} of {jax.process_count()}: another process of this run has "
        "ended, so this one ends too; the same command on all of them goes on from the last "
        "checkpoint"
    )


def is_first() -> bool:
    """Returns whether this is the process that prints and writes files."""
    return jax.process_index() == 0


def say(text: str, file: Any = None) -> None:
    """Prints a line, once for all processes."""
    if is_first():
        print(text, file=file or sys.stdout, flush=True)


def on_first(action: Callable[[], None]) -> None:
    """Calls `action` on the first process; all return when it is done."""
    if is_first():
        action()
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("crnn_jax.on_first")


def together(action: Callable[[], T], kind: type[Exception]) -> T:
    """Returns what `action` returns; if it raises `kind` on one process, it does so on all."""
    if jax.process_count() == 1:
        return action()
    error, value = None, None
    try:
        value = action()
    except kind as found:
        error = found
    if _of_all(np.bool_(error is not None)).any():
        raise error or kind("another process of this run found a mistake, and says which")
    return cast(T, value)


def seen_by_all(numbers: list[int], most: int = 1024) -> list[int]:
    """Returns the numbers that every process has in its list, ascending; all must call it.

    A shared file system may show one process a folder that another does not see yet. Only the
    last `most` are compared.
    """
    if jax.process_count() == 1:
        return sorted(numbers)
    row = np.full(most, -1, np.int32)
    last = sorted(numbers)[-most:]
    row[: len(last)] = last
    lists = [set(other.tolist()) for other in _of_all(row)]
    return sorted(set.intersection(*lists) - {-1}) if lists else []


def check_same_on_all(facts: dict[str, Any]) -> None:
    """Checks that what the processes say of their data is the same; all must call it.

    Processes with other data would wait for each other for ever, or learn from different examples.

    Args:
      facts: as from `Dataset.describe`.

    Raises:
      UserError: on every process, says what each has.
    """
    splits = ", ".join(f"{x['num_examples']} {name}" for name, x in facts["splits"].items())
    shown = f"{splits} examples of {len(facts['class_names'])} classes"
    text = json.dumps(facts, sort_keys=True)
    check_same("the same data", text, shown, "make 'data.source' the same on all")


def check_same(expected: str, text: str, shown: str, remedy: str) -> None:
    """Checks that the processes have the same text; all must call it.

    Args:
      expected: what it says, as "the same data".
      text: any.
      shown: the part of it that an error shows.
      remedy: what to do where it is not the same.

    Raises:
      UserError: on every process, says what each has.
    """
    if jax.process_count() == 1:
        return
    head = shown.encode()[:_MOST_SHOWN]
    row = np.zeros(32 + _MOST_SHOWN, np.uint8)
    row[:32] = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    row[32 : 32 + len(head)] = np.frombuffer(head, np.uint8)
    rows = _of_all(row)
    if (rows[:, :32] == rows[0, :32]).all():
        return
    other = int(np.argmax((rows[:, :32] != rows[0, :32]).any(axis=1)))
    first, second = (bytes(rows[i, 32:]).rstrip(b"\0").decode() for i in (0, other))
    found = f"{first} on process 0 and {second} on process {other}"
    if first == second:
        found = f"other names or contents on process {other} than on process 0 ({first})"
    raise UserError(f"the processes of a run expect {expected}, found {found}: {remedy}")


def _of_all(value: Any) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(value))
