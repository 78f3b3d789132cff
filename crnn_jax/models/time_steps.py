"""The loop over time of a layer that keeps what it computes at each step."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from crnn_jax.models.cells import Array, Carry


def unroll_steps(num_steps: int) -> int:
    """Returns how many steps one iteration of the scan holds: all of them up to 8, else one.

    Sequences read from a last feature map are short (T = 4 to 8), and there a loop costs more than
    the steps in it. At T = 16 and 32 a CPU gained nothing from 4, 8 or all steps an iteration, and
    the compile time grew two- to sixfold.
    """
    return num_steps if num_steps <= 8 else 1


def over_steps(
    step: Callable[[Carry, tuple[Array, ...], Any], tuple[Carry, tuple[Array, ...], Any]],
    carry: Carry,
    replaced: tuple[Array, ...],
    read: Any,
    *,
    reverse: bool,
    replace: bool = True,
) -> tuple[Carry, tuple[Array, ...], Any]:
    """Returns (the last carry, the arrays with their new values, the outputs of all steps).

    In a loop new values take the place of the old ones: what a scan returns beside its carry XLA
    fills with zeros first, by one pass over memory or two. Unrolled steps are faster without.

    Args:
      step: (carry, a step's part of `replaced`, that of `read`) -> (carry, new part, output).
      carry: before the first step.
      replaced: (T, ...) each.
      read: a tree of (T, ...).
      reverse: from the last step to the first.
      replace: False where the new values are not needed; then there are none.
    """
    num_steps = replaced[0].shape[0]
    unroll = unroll_steps(num_steps)

    def plain(carry: Carry, inputs: Any) -> tuple[Carry, Any]:
        carry, new, output = step(carry, *inputs)
        return carry, (new if replace else (), output)

    if not replace or unroll == num_steps:
        carry, (new, outputs) = lax.scan(
            plain, carry, (replaced, read), reverse=reverse, unroll=unroll
        )
        return carry, new, outputs

    def values_at(arrays: tuple[Array, ...], index: Any) -> tuple[Array, ...]:
        return tuple(lax.dynamic_index_in_dim(array, index, 0, False) for array in arrays)

    def body(loop: Any, inputs: Any) -> tuple[Any, Any]:
        (carry, arrays, old), (index, part) = loop, inputs
        carry, new, output = step(carry, old, part)
        arrays = tuple(
            lax.dynamic_update_index_in_dim(array, value, index, 0)
            for array, value in zip(arrays, new, strict=True)
        )
        # The next step's values are read from what was written: read before that, they made XLA
        # copy the arrays at every step. After the last step they are any values, and not used.
        return (carry, arrays, values_at(arrays, index + (-1 if reverse else 1))), output

    start = (carry, replaced, values_at(replaced, num_steps - 1 if reverse else 0))
    inputs = (jnp.arange(num_steps), read)
    (carry, arrays, _), outputs = lax.scan(body, start, inputs, reverse=reverse, unroll=unroll)
    return carry, arrays, outputs
