"""A long training: whether its memory, open files and threads stay what they are."""

import contextlib
import ctypes
import gc
import json
import os
import pathlib
import re
import sys
from typing import Any

from tests.faults import processes

SAVES = 500  # steps between checkpoints, and between evaluations
KEYS = {
    "batch_size": "64",
    "eval.every": f"{SAVES} steps",
    "checkpoint.every": f"{SAVES} steps",
    "log.every": "100 steps",
}
MOST_GROWTH = 0.02


def run(steps: int, folder: pathlib.Path, **changes: str) -> dict[str, Any]:
    """Returns what the digits' RNN held early and late in a training of so many steps.

    It is read at every line of progress, after a collection of garbage. Early: the most between a
    fifth and two fifths of the steps, when all is compiled, evaluated and saved once; late: the
    most in the last fifth.

    Args:
      steps: a multiple of 500 and at least 2500, so that each part has a checkpoint.
      folder: for the run.
      changes: config keys, with "__" for the dot.

    Returns:
      {"steps", "resident_mb", "files", "threads": [early, late] each, "left": processes and shared
      memory that outlive the run, "code": its exit code}.
    """
    keys = {**KEYS, "duration": f"{steps} steps", **changes}
    flags = [f"--config.{name.replace('__', '.')}={value}" for name, value in keys.items()]
    arguments = ["--config=configs/digits.py:rnn", f"--workdir={folder / 'run'}", *flags]
    child = processes.start("tests.faults.long_run", *arguments)
    assert child.stdout
    lines = [line.removeprefix("held ") for line in child.stdout if line.startswith("held ")]
    code, found = child.wait(), [json.loads(line) for line in lines]
    seen = {step: tuple(held) for step, *held, _ in found}
    shared = {path for *_, paths in found for path in paths}
    early = _most(seen, steps // 5, 2 * steps // 5)
    late = _most(seen, 4 * steps // 5, steps)
    names = ("resident_mb", "files", "threads")
    return {
        "steps": steps,
        **{
            name: list(pair)
            for name, pair in zip(names, zip(early, late, strict=True), strict=True)
        },
        "left": sum(map(os.path.exists, shared)) + _lives(child.pid),
        "code": code,
    }


def problems(found: dict[str, Any]) -> list[str]:
    """Returns the names of what is not as it must be in what `run` returns.

    A leak of files or threads is at least one a checkpoint; pools may still gain a thread or two.
    """
    saves = 3 * found["steps"] // 5 // SAVES  # from where "early" ends to the end
    names = [name for name in ("files", "threads") if found[name][1] - found[name][0] >= saves]
    early, late = found["resident_mb"]
    if late > early * (1 + MOST_GROWTH):
        names.append("resident_mb")
    return names + [name for name in ("left", "code") if found[name]]


class _Watched:
    # The program's stdout, which says behind each line of progress what the process holds.
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        written = self._stream.write(text)
        if found := re.match(r"step (\d+)/", text):
            self._stream.write(f"\nheld {json.dumps([int(found[1]), *_held(), _shared()])}\n")
        return written


def _held() -> tuple[int, int, int]:
    # Garbage and freed pages come and go; what stays is what could grow.
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    process = pathlib.Path("/proc/self")
    pages = int((process / "statm").read_text().split()[1])
    counts = [len(list((process / kind).iterdir())) for kind in ("fd", "task")]
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6), counts[0], counts[1]


def _most(seen: dict[int, tuple[int, ...]], first: int, last: int) -> tuple[int, ...]:
    chosen = [held for step, held in seen.items() if first <= step <= last]
    return tuple(max(column) for column in zip(*chosen, strict=True))


def _shared() -> list[str]:
    maps = pathlib.Path("/proc/self/maps").read_text()
    return sorted(set(re.findall(r"/dev/shm/crnn_\w+", maps)))


def _lives(group: int) -> int:
    # Helpers of multiprocessing end a moment after their parent.
    pids = [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")]
    return sum(_group(pid) == group and not processes.wait_for_end(pid, 15) for pid in pids)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


if __name__ == "__main__":
    from crnn_jax.main import main

    setattr(sys, "stdout", _Watched(sys.stdout))  # noqa: B010
    main(sys.argv[1:])
