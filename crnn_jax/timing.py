"""Interleaved timing: programs that are compared see the same machine."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any


def interleave(
    programs: dict[str, Callable[[], Any]], repeats: int, *, pause_seconds: float = 0.0
) -> dict[str, list[float]]:
    """Returns each program's seconds, one run of each in turn, so that all see the same machine.

    A program returns when its work is done; one that runs in another process returns its own
    seconds. The first round is not timed: it compiles. Before each run the machine rests for
    `pause_seconds`.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(-1, repeats):
        for name, program in programs.items():
            time.sleep(pause_seconds)
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


def calls_to_fill(program: Callable[[int], Any], seconds: float, most: int) -> int:
    """Returns how many calls take about `seconds`, in 1..most; what is too short is not measured.

    Args:
      program: given a number of calls, makes them and returns when their work is done.
      seconds: to fill.
      most: the limit.
    """
    program(1)  # compiles
    start = time.perf_counter()
    program(1)
    once = max(time.perf_counter() - start, 1e-9)
    return max(1, min(most, math.ceil(seconds / once)))


def per_call(
    programs: dict[str, Callable[[int], Any]], repeats: int, *, fill: float, most: int
) -> dict[str, list[float]]:
    """Returns each program's seconds of a call, [min, median, max] over interleaved repeats.

    Args:
      programs: given a number of calls, make them and return when their work is done.
      repeats: how often each program is timed.
      fill: seconds that the calls of one repeat take together, so that short calls are measured
        too; at least one call is made.
      most: calls a repeat.
    """
    calls = {name: calls_to_fill(program, fill, most) for name, program in programs.items()}
    turns = {
        name: lambda name=name, program=program: program(calls[name])
        for name, program in programs.items()
    }
    seconds = interleave(turns, repeats)
    return {name: spread([s / calls[name] for s in times]) for name, times in seconds.items()}


def compare(
    first: Callable[[int], Any],
    second: Callable[[int], Any],
    repeats: int,
    *,
    fill: float,
    most: int,
) -> tuple[list[float], list[float], list[float]]:
    """Returns the seconds of a call of both, and their ratios, each [min, median, max].

    A ratio is of the two runs of one round, the first over the second: a machine's speed drifts by
    more than the few percent that are looked for. The arguments are those of `per_call`.
    """
    calls = calls_to_fill(second, fill, most)
    turns = {"first": lambda: first(calls), "second": lambda: second(calls)}
    times = interleave(turns, repeats)
    ratios = [a / b for a, b in zip(times["first"], times["second"], strict=True)]
    seconds = [spread([time / calls for time in of]) for of in times.values()]
    return seconds[0], seconds[1], spread(ratios)
