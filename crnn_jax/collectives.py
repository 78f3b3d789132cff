"""What a compiled program sends between devices, read off its text."""

import dataclasses
import math
import re

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_CALL = re.compile(rf" = (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")
_WHILE = re.compile(r" while\(.*body=%?([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"?(\d+)')
_INNER = re.compile(r"(?:calls|to_apply|branch_computations=\{[^}]*|body|condition)=%?([\w.\-]+)")
_BYTES = {"pred": 1, "bf16": 2, "f16": 2}


@dataclasses.dataclass(frozen=True)
class Traffic:
    """How many collectives of each kind run in one step, and the bytes of their results."""

    calls: dict[str, int]
    num_bytes: dict[str, int]

    @property
    def total_calls(self) -> int:
        """Returns the number of collectives."""
        return sum(self.calls.values())

    @property
    def total_bytes(self) -> int:
        """Returns the bytes of their results on one device."""
        return sum(self.num_bytes.values())


def read_traffic(program: str) -> Traffic:
    """Returns the collectives of an optimized program (`compiled.as_text()`).

    What stands in a loop counts once an iteration where the compiler knows their number, else once.
    A start and its done count once; the result of a start that repeats its operand counts once too.
    """
    calls: dict[str, int] = dict.fromkeys(KINDS, 0)
    num_bytes: dict[str, int] = dict.fromkeys(KINDS, 0)
    times = _times_run(program)
    name = ""
    for line in program.splitlines():
        if match := _COMPUTATION.match(line):
            name = match[1]
        if match := _CALL.search(line):
            result, kind = match[1], match[2]
            arrays = [_array_bytes(*array) for array in _ARRAY.findall(result)]
            started = f"{kind}-start(" in line and kind != "all-reduce"
            size = sum(arrays[len(arrays) // 2 :]) if started else sum(arrays)
            calls[kind] += times.get(name, 1)
            num_bytes[kind] += times.get(name, 1) * size
    return Traffic(calls, num_bytes)


def _times_run(program: str) -> dict[str, int]:
    """Returns how often each computation runs, as far as loops inside loops say."""
    times: dict[str, int] = {}
    callers: dict[str, tuple[str, int]] = {}
    name = ""
    for line in program.splitlines():
        if match := _COMPUTATION.match(line):
            name = match[1]
        trips = int(found[1]) if (found := _TRIPS.search(line)) else 1
        body = loop[1] if (loop := _WHILE.search(line)) else None
        for inner in _INNER.findall(line):
            callers[inner] = (name, trips if inner == body else 1)
    for computation in callers:
        count, at = 1, computation
        for _ in range(100):  # deeper than any program nests
            if at not in callers:
                break
            at, trips = callers[at]
            count *= trips
        times[computation] = count
    return times


def _array_bytes(dtype: str, dims: str) -> int:
    size = math.prod(int(dim) for dim in dims.split(",") if dim)
    width = _BYTES.get(dtype) or int(re.sub(r"\D", "", dtype) or 8) // 8
    return size * max(width, 1)
