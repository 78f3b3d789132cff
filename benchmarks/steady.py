"""The seconds of a call in a row of calls, measured alike in our process and in a peer's."""

import math
import os
import time
from collections.abc import Callable
from typing import Any

# After a rest the first calls of a few milliseconds take up to twice as long: threads wake, and
# caches are cold. A training's steps follow each other.
FILL_SECONDS = float(os.environ.get("STEADY_SECONDS", "0.1"))
# Training steps in a row: the first ones after a rest took a quarter longer than those after.
STEPS = 5


def matmul_side(device: str) -> int:
    """Returns the side of the square matrices that ours and a peer multiply for their rate."""
    return 2048 if device == "cpu" else 8192


def steady_seconds(
    program: Callable[[], Any], finish: Callable[[], Any] = lambda: None, least: int = 1
) -> float:
    """Returns the mean seconds of the calls that fill FILL_SECONDS, after one that is not counted.

    There are `least` calls or more. Where that is one, and it fills them alone, it counts. A
    program that returns a float has been timed where it runs. Where a program returns before its
    work is done, `finish` waits for the work of all calls: it is called once for a row of them.
    """
    start = time.perf_counter()
    elapsed = program()
    if isinstance(elapsed, float):
        return elapsed
    finish()
    elapsed = time.perf_counter() - start
    if elapsed >= FILL_SECONDS and least == 1:
        return elapsed
    calls = max(least, math.ceil(FILL_SECONDS / max(elapsed, 1e-6)))
    start = time.perf_counter()
    for _ in range(calls):
        program()
    finish()
    return (time.perf_counter() - start) / calls


def peak_resident_bytes() -> int:
    """Returns the most resident memory of this process since its start, or since `reset_peak`."""
    with open("/proc/self/status") as file:
        kilobytes = {line.split()[0]: line.split()[1] for line in file if line.startswith("Vm")}
    return 1024 * int(kilobytes["VmHWM:"])


def reset_peak() -> None:
    """Lets `peak_resident_bytes` count anew from what is resident now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
