"""A scan over the steps that JAX differentiates by itself: the plain reading of a cell.

It runs every cell, and alone of all implementations it can compute its steps again (remat).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from crnn_jax.models.recurrent.cells import CELLS, Array, Carry
from crnn_jax.models.recurrent.time_steps import unroll_steps
from crnn_jax.models.recurrent.weights import Settings, Weights, affine, masked


def scan(
    settings: Settings, feature_BTD: Array, mask_BT: Array | None, weights: Weights
) -> tuple[Array, Array]:
    """Returns (state_BTN, last_BN), float32: each step projects its own input.

    Args:
      settings: for any cell, with or without remat.
      feature_BTD: any float dtype.
      mask_BT: bool; where False the step is the identity.
      weights: the layer's.
    """

    def project(feature_BD: Array) -> Array:
        return affine(feature_BD, weights.kernel_x, weights.bias, settings.dtype)

    return over_inputs(settings, feature_BTD, mask_BT, project, weights)


def over_inputs(
    settings: Settings,
    input_BTX: Array,
    mask_BT: Array | None,
    project: Callable[[Array], Array],
    weights: Weights,
) -> tuple[Array, Array]:
    """Returns as `scan` does, where `project` makes gate_x_BG of a step's input (B, X)."""
    cell = CELLS[settings.cell]
    # A cell without recurrent products has no kernel_h to tell the size.
    size = weights.bias.shape[0] // cell.num_gates

    def product(value_BN: Array, first: int, last: int) -> Array:
        gates = slice(first * size, last * size)
        kernel, bias = weights.kernel_h[:, gates], weights.bias_h[gates]
        return affine(value_BN, kernel, bias, settings.dtype)

    def body(carry: Carry, inputs: tuple[Array, Array | None]) -> tuple[Carry, Array]:
        input_BX, mask_B1 = inputs
        carry = masked(cell.step(carry, project(input_BX), product), carry, mask_B1)
        return carry, carry[0]

    start = (jnp.zeros((input_BTX.shape[0], size), jnp.float32),) * cell.num_carries
    mask_BT1 = None if mask_BT is None else mask_BT[..., None]
    last, state_TBN = lax.scan(
        jax.checkpoint(body, prevent_cse=False) if settings.remat else body,
        start,
        jax.tree.map(lambda value: jnp.moveaxis(value, 1, 0), (input_BTX, mask_BT1)),
        reverse=settings.reverse,
        unroll=unroll_steps(input_BTX.shape[1]),
    )
    return jnp.moveaxis(state_TBN, 0, 1), last[0]
