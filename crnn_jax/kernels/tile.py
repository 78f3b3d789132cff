"""How the GRU's kernels divide the batch and the units among the programs of their grid."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

NUM_GATES = 3  # reset, update, new, in this order


class Tile(NamedTuple):
    """What one program of the grid owns."""

    batch: int  # examples
    units: int
    depth: int  # units that one product sums over
    warps: int

    def alone(self, num_units: int) -> bool:
        """Returns whether a program owns all units: the state then never leaves its registers."""
        return self.units == self.depth == num_units


def choose_tile(batch: int, num_units: int, dtype: Any, cores: int, memory: int) -> Tile | None:
    """Returns a tile whose programs all run at once, or None where the weights do not fit.

    Few examples a program and few units a program: the fewer, the more multiprocessors work, and a
    step waits for the memory, not for products. Measured on an H100 (docs/performance.md).

    Args:
      batch: examples, which are padded to a multiple of `Tile.batch`.
      num_units: as padded (`pad_units`).
      dtype: what the products read.
      cores: multiprocessors of the device.
      memory: bytes of shared memory that a program may have.
    """
    size = jnp.dtype(dtype).itemsize
    for rows in (16, 32, 64):  # 128 spill registers, and take minutes to compile in float32
        blocks = math.ceil(batch / rows)
        for units in (num_units,) if num_units <= 128 else (32, 64, 128):
            if num_units % units or blocks * (num_units // units) > cores:
                continue
            for depth in (512, 256, 128, 64, 32, 16):
                needed = NUM_GATES * size * (num_units * units + rows * depth)
                if num_units % depth == 0 and needed <= memory:
                    return Tile(rows, units, depth, 8 if units >= 128 else 4)
    return None


def pad_units(num_units: int) -> int:
    """Returns the number of units that the kernels compute: a power of two, or a multiple of 64."""
    if num_units > 128:
        return 64 * math.ceil(num_units / 64)
    return max(16, 1 << (num_units - 1).bit_length())
