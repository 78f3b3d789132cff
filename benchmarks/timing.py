"""Interleaved timing, and records that say what they were measured on."""

import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

from crnn_jax.writers import describe_devices, git_commit, versions

RESULTS = pathlib.Path(__file__).parent.parent / "results" / "benchmarks"

# Between two programs: the threads of OpenMP (PyTorch's) spin for some 0.2 s after their work, on
# the cores that the next program is measured on.
PAUSE_SECONDS = 0.4


def interleave(programs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Returns each program's seconds, one run of each in turn, so that all see the same machine.

    A program returns when its work is done; one that runs in another process returns its own
    seconds. The first round is not timed: it compiles.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(-1, repeats):
        for name, program in programs.items():
            time.sleep(PAUSE_SECONDS)
            start = time.perf_counter()
            elapsed = program()
            if not isinstance(elapsed, float):
                elapsed = time.perf_counter() - start
            if repeat >= 0:
                seconds[name].append(elapsed)
    return seconds


def spread(values: list[float]) -> list[float]:
    """Returns [min, median, max]."""
    return [min(values), statistics.median(values), max(values)]


def append(name: str, record: dict[str, Any]) -> None:
    """Appends one line to results/benchmarks/NAME.jsonl: the record, time, commit and machine."""
    where = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git_commit": git_commit(),
        "devices": describe_devices(),
        "versions": versions(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps({**where, **record}) + "\n")
