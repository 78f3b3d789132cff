"""The loop over time of a layer that keeps what it computes at each step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from crnn_jax.models.recurrent.cells import Array, Carry


def unroll_steps(num_steps: int) -> int:
    """Returns how many steps one iteration of the scan holds: all of them up to 8, else one.

    Sequences read from a last feature map are short (T = 4 to 8), and there a loop costs more than
    the steps in it. At T = 16 and 32 a CPU gained nothing from 4, 8 or all steps an iteration, and
    the compile time grew two- to sixfold.
    """
    return num_steps if num_steps <= 8 else 1


def over_steps(
    step: Callable[[Carry, Any, Any], tuple[Carry, Any, Any]],
    carry: Carry,
    replaced: tuple[Array, ...],
    read: Any,
    *,
    reverse: bool,
    replace: bool = True,
) -> tuple[Carry, tuple[Array, ...], Any]:
    """Returns (the last carry, the arrays with their new values, the outputs of all steps).

    As `lax.scan`, but that examples come first, which needs no copies of whole arrays turned round,
    and that in a loop new values take the place of the old ones: what a scan returns beside its
    carry XLA fills with zeros first, by one pass over memory or two.

    Args:
      step: (carry, a step's part of `replaced`, that of `read`) -> (carry, new part, output).
      carry: before the first step.
      replaced: (B, T, ...) each.
      read: a tree of (B, T, ...).
      reverse: from the last step to the first.
      replace: False where the new values are not needed; then there are none.
    """
    if not replace:

        def reading(carry: Carry, _: Any, both: Any) -> tuple[Carry, Any, Any]:
            carry, _, output = step(carry, *both)
            return carry, (), output

        return over_steps(reading, carry, (), (replaced, read), reverse=reverse)

    num_steps = jax.tree.leaves((replaced, read))[0].shape[1]
    if unroll_steps(num_steps) == num_steps:
        made: list[Any] = [None] * num_steps
        for index in sorted(range(num_steps), reverse=reverse):
            carry, *made[index] = step(carry, *_at((replaced, read), index))
        new, outputs = jax.tree.map(lambda *of_steps: jnp.stack(of_steps, axis=1), *made)
        return carry, new, outputs

    def body(loop: Any, index: Array) -> tuple[Any, None]:
        carry, arrays, old, outputs = loop
        carry, new, output = step(carry, old, _at(read, index))
        arrays, outputs = _put((arrays, outputs), (new, output), index)
        # The next step's values are read from what was written: read before that, they made XLA
        # copy the arrays at every step. After the last step they are any values, and not used.
        return (carry, arrays, _at(arrays, index + (-1 if reverse else 1)), outputs), None

    old = _at(replaced, num_steps - 1 if reverse else 0)
    _, _, output = jax.eval_shape(step, carry, old, _at(read, 0))
    outputs = jax.tree.map(
        lambda value: jnp.zeros((value.shape[0], num_steps, *value.shape[1:]), value.dtype), output
    )
    start = (carry, replaced, old, outputs)
    (carry, arrays, _, outputs), _ = lax.scan(body, start, jnp.arange(num_steps), reverse=reverse)
    return carry, arrays, outputs


def _at(arrays: Any, index: Any) -> Any:
    """Returns the values of a step."""
    return jax.tree.map(lambda array: lax.dynamic_index_in_dim(array, index, 1, False), arrays)


def _put(arrays: Any, values: Any, index: Any) -> Any:
    """Returns the arrays with the values of a step."""

    def put(array: Array, value: Array) -> Array:
        return lax.dynamic_update_index_in_dim(array, value, index, 1)

    return jax.tree.map(put, arrays, values)
