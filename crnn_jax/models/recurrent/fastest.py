"""Which implementation of a recurrent layer is fastest where, as measured."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax.models.recurrent.cells import CELLS
from crnn_jax.models.recurrent.implementations import IMPLEMENTATIONS

# The fastest implementation of a GRU layer, forward and backward, by backend, dtype of the products
# and (T, N, B), where the input is as wide as the state: results/benchmarks/gru.jsonl says the
# times, and `python benchmarks/gru.py --table` writes these lines from it.
MEASURED: dict[tuple[str, str], dict[tuple[int, int, int], str]] = {
    ("cpu", "float32"): {
        (8, 128, 128): "hoisted",
        (8, 128, 1024): "scan",
        (8, 256, 128): "hoisted",
        (8, 256, 1024): "hoisted",
        (8, 512, 128): "hoisted",
        (8, 512, 1024): "hoisted",
        (16, 128, 128): "hoisted",
        (16, 128, 1024): "hoisted",
        (16, 256, 128): "hoisted",
        (16, 256, 1024): "hoisted",
        (16, 512, 128): "hoisted",
        (16, 512, 1024): "hoisted",
        (49, 128, 128): "hoisted",
        (49, 128, 1024): "hoisted",
        (49, 256, 128): "hoisted",
        (49, 256, 1024): "hoisted",
        (49, 512, 128): "hoisted",
        (49, 512, 1024): "hoisted",
        (64, 128, 128): "hoisted",
        (64, 128, 1024): "hoisted",
        (64, 256, 128): "hoisted",
        (64, 256, 1024): "hoisted",
        (64, 512, 128): "hoisted",
        (64, 512, 1024): "hoisted",
        (196, 128, 128): "hoisted",
        (196, 128, 1024): "hoisted",
        (196, 256, 128): "hoisted",
        (196, 256, 1024): "hoisted",
        (196, 512, 128): "hoisted",
        (196, 512, 1024): "hoisted",
    },
    ("gpu", "bfloat16"): {
        (8, 128, 128): "fused",
        (8, 128, 1024): "fused",
        (8, 256, 128): "fused",
        (8, 256, 1024): "fused",
        (8, 512, 128): "fused",
        (8, 512, 1024): "fused",
        (16, 128, 128): "fused",
        (16, 128, 1024): "fused",
        (16, 256, 128): "fused",
        (16, 256, 1024): "fused",
        (16, 512, 128): "fused",
        (16, 512, 1024): "fused",
        (49, 128, 128): "fused",
        (49, 128, 1024): "fused",
        (49, 256, 128): "fused",
        (49, 256, 1024): "fused",
        (49, 512, 128): "fused",
        (49, 512, 1024): "fused",
        (64, 128, 128): "fused",
        (64, 128, 1024): "fused",
        (64, 256, 128): "fused",
        (64, 256, 1024): "fused",
        (64, 512, 128): "fused",
        (64, 512, 1024): "fused",
        (196, 128, 128): "fused",
        (196, 128, 1024): "fused",
        (196, 256, 128): "fused",
        (196, 256, 1024): "fused",
        (196, 512, 128): "fused",
        (196, 512, 1024): "fused",
    },
}


def fastest(
    cell: str,
    num_steps: int,
    hidden_units: int,
    batch: int,
    dtype: Any = jnp.float32,
    backend: str | None = None,
    *,
    remat: bool = False,
) -> str:
    """Returns the implementation that was fastest at the measured shape nearest to this one.

    'hoisted' where nothing was measured (another backend, or a cell unlike the GRU, whose gates
    read one product of the state), and where the fastest does not know the cell or does not fit the
    device. On a CPU, bfloat16 chooses as float32 does.

    Args:
      cell: see `CELLS`.
      num_steps: T.
      hidden_units: N.
      batch: examples on one device.
      dtype: what the products read.
      backend: 'cpu', 'gpu' or 'tpu'; None: the one in use.
      remat: then it is 'scan', which alone computes its steps again; 'fused' would keep its gates.
    """
    if remat:
        return "scan"
    backend = backend or jax.default_backend()
    name = "float32" if backend == "cpu" else jnp.dtype(dtype).name
    measured = MEASURED.get((backend, name), {})
    if CELLS[cell].num_summed is None or not measured:
        return "hoisted"
    here = (num_steps, hidden_units, batch)
    nearest = min(
        measured,
        key=lambda shape: sum(math.log(a / b) ** 2 for a, b in zip(shape, here, strict=True)),
    )
    choice = measured[nearest]
    implementation = IMPLEMENTATIONS[choice]
    can_run = cell in implementation.cells and implementation.fits(hidden_units, batch, dtype)
    return choice if can_run else "hoisted"
