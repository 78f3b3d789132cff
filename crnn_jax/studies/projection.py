"""From a measured single-device step to a step on many chips, term by term.

The model, for N chips of global batch B, each with b = B / N images:

    step = max(compute, memory) + bandwidth + latency
    compute   = 3 F b / (peak u(b))      F: forward FLOPs an image; u: the fraction of the measured
                                          device's own matmul rate that its step reached at b
    memory    = bytes(b) / memory bandwidth          bytes accessed by the compiled step
    bandwidth = the gradients' all-reduce, 2 (d-1)/d G / inside in a domain of d chips, then
                2 (M-1)/M (G/d) / outside between M domains
    latency   = calls (start + hops)     hops: d/2 of each axis of a torus, 1 of a switch, and
                                          2 log2 M between domains

G are the bytes and calls of the collectives of the compiled program. Nothing overlaps: an upper
bound of what communication costs.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from crnn_jax.studies.hardware import CHIPS, HOP_SECONDS, START_SECONDS, Chip

TERMS = ("compute", "memory", "bandwidth", "latency")
ASSUMPTIONS = (
    "each chip reaches the fraction of its bf16 peak that the measured device reaches of its own "
    "matmul rate at the same images a device; outside the measured range the nearest value counts",
    "bytes accessed are those of the measured program; on accelerators more is fused and fewer "
    "are moved",
    "communication and computation do not overlap",
    f"a collective takes {START_SECONDS * 1e6:.0f} us to start, and a hop "
    f"{HOP_SECONDS['inside'] * 1e6:.0f} us inside a domain and "
    f"{HOP_SECONDS['outside'] * 1e6:.0f} us between domains: assumed, not published",
    "the input pipeline keeps up, and no chip waits for another",
)
# A doubling of the chips that makes the step less than this much faster does not pay.
PAYING_SPEEDUP = 1.5


@dataclasses.dataclass(frozen=True)
class Program:
    """What was measured and read off on one machine.

    Attributes:
      flops_per_image: forward.
      gradient_bytes: results of all collectives of a step on one device.
      calls: collectives of a step.
      utilization: {images a device: fraction of the measured matmul rate}.
      bytes_accessed: {images a device: bytes}.
    """

    flops_per_image: float
    gradient_bytes: float
    calls: int
    utilization: dict[int, float]
    bytes_accessed: dict[int, float]


def project(program: Program, chip: Chip, num_chips: int, batch_size: float) -> dict[str, Any]:
    """Returns {"step_seconds", "images_per_second", "terms", "bound"} of `num_chips` of `chip`.

    Args:
      program: what was measured on a machine.
      chip: what to project to.
      num_chips: N.
      batch_size: global; b = B / N may be below 1 only in a search for a larger one.
    """
    images = batch_size / num_chips
    rate = chip.peak * _at(program.utilization, images)
    bytes_of_image = {b: value / b for b, value in program.bytes_accessed.items()}
    terms = {
        "compute": 3 * program.flops_per_image * images / rate,
        "memory": _at(bytes_of_image, images) * images / chip.memory_bandwidth,
        **_communication(program, chip, num_chips),
    }
    busy = max(terms["compute"], terms["memory"])
    step = busy + terms["bandwidth"] + terms["latency"]
    counted = {k: v for k, v in terms.items() if k not in ("compute", "memory") or v == busy}
    return {
        "chips": num_chips,
        "batch_size": batch_size,
        "step_seconds": step,
        "images_per_second": batch_size / step,
        "mfu": 3 * program.flops_per_image * images / (step * chip.peak),
        "terms": terms,
        "bound": max(counted, key=lambda name: counted[name]),
        "efficiency": busy / step,
    }


def _communication(program: Program, chip: Chip, num_chips: int) -> dict[str, float]:
    if num_chips == 1:
        return {"bandwidth": 0.0, "latency": 0.0}
    inside = min(num_chips, chip.domain)
    domains = math.ceil(num_chips / chip.domain)
    size = program.gradient_bytes
    bandwidth = 2 * (inside - 1) / inside * size / chip.inside
    side = inside ** (1 / chip.torus) if chip.torus else 0
    seconds = HOP_SECONDS["inside"] * (chip.torus * side / 2 if chip.torus else 1)
    if domains > 1:
        bandwidth += 2 * (domains - 1) / domains * size / inside / chip.outside
        seconds += HOP_SECONDS["outside"] * 2 * math.log2(domains)
    return {"bandwidth": bandwidth, "latency": program.calls * (START_SECONDS + seconds)}


def _at(curve: dict[int, float], images: float) -> float:
    """Returns the curve at `images`, linear in its logarithm, and constant beyond its ends."""
    at = sorted(curve)
    return float(np.interp(math.log(images), [math.log(x) for x in at], [curve[x] for x in at]))


def batch_for_efficiency(program: Program, chip: Chip, num_chips: int, efficiency: float) -> int:
    """Returns the smallest batch, a power of two a chip, that spends so much on computing."""
    for power in range(30):
        batch = num_chips * 2**power
        if project(program, chip, num_chips, batch)["efficiency"] >= efficiency:
            return batch
    raise ValueError(f"no batch reaches an efficiency of {efficiency} on {num_chips} chips")


def study(program: Program, chips: list[int], batch_size: int) -> dict[str, Any]:
    """Returns, for every chip known, the points and where strong scaling stops paying.

    Args:
      program: what was measured on a machine.
      chips: numbers of chips; those above `batch_size` are left out of strong scaling.
      batch_size: global, the same at every point.
    """
    found = {}
    for name, chip in CHIPS.items():
        points = [project(program, chip, n, batch_size) for n in chips if n <= batch_size]
        for point in points:
            needed = batch_for_efficiency(program, chip, point["chips"], 0.8)
            point["batch_for_80_percent"] = needed
        found[name] = {"source": chip.source, "points": points, **_stop(program, chip, batch_size)}
    return found


def _stop(program: Program, chip: Chip, batch_size: int) -> dict[str, Any]:
    """Returns the most chips up to which each doubling pays, and the term that ends it."""
    chips = 1
    while 2 * chips <= batch_size:
        now, then = (project(program, chip, n, batch_size) for n in (chips, 2 * chips))
        if now["step_seconds"] / then["step_seconds"] < PAYING_SPEEDUP:
            grown = {k: then["terms"][k] - now["terms"][k] / 2 for k in TERMS}
            grown.pop("compute" if then["terms"]["memory"] > then["terms"]["compute"] else "memory")
            return {"pays_up_to": chips, "stopped_by": max(grown, key=lambda k: grown[k])}
        chips *= 2
    return {"pays_up_to": chips, "stopped_by": "one image a chip"}
