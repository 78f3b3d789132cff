"""What an implementation of a recurrent layer is given, and the two operations that all share."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from crnn_jax.axes import along_last
from crnn_jax.models.recurrent.cells import Array, Carry


class Settings(NamedTuple):
    """What is known when the program is traced."""

    cell: str  # one of `CELLS`
    reverse: bool  # from the last step to the first
    dtype: Any  # that the matmuls read
    remat: bool = False  # the backward pass computes each step again


class Weights(NamedTuple):
    """The weights of one layer in one direction, float32; G = gates * N."""

    kernel_x: Array  # (D, G)
    bias: Array  # (G,)
    kernel_h: Array  # (N, G); no matter what for a cell without recurrent products
    bias_h: Array  # (G,)


def matmul(left: Array, right: Array, dtype: Any) -> Array:
    """Returns left (..., D) times right (D, G) in `dtype`, as float32 (..., G)."""
    # The kernel is cast here and not outside a loop: its gradient is then summed over the steps in
    # float32, and the matmuls of the backward pass read `dtype` too.
    return jnp.dot(left.astype(dtype), right.astype(dtype)).astype(jnp.float32)


def affine(left: Array, kernel: Array, bias_G: Array, dtype: Any) -> Array:
    """Returns left (..., D) times kernel (D, G) in `dtype`, plus the bias, as float32 (..., G)."""
    product = matmul(left, kernel, dtype)
    return product + along_last(bias_G, product)


def masked(new: Carry, old: Carry, mask_B1: Array | None) -> Carry:
    """Returns the new carry where the mask is True, else the old one."""
    if mask_B1 is None:
        return new
    return tuple(jnp.where(mask_B1, n, o) for n, o in zip(new, old, strict=True))
