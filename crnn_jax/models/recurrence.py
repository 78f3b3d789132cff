"""The recurrence over projected inputs, with a backward pass of its own.

JAX's gradient of a scan adds each step's part of the recurrent weights' gradient to a sum: a thin
matmul and a pass over the whole kernel at every step. Here the loop back through time carries the
state's gradient alone and writes the gates' gradients down; the weights' gradient is one matmul
over all steps after it. What the forward loop keeps are the gates before their non-linearities,
and the states; the rest of a step is computed again, which costs no matmul.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from crnn_jax.models.cells import CELLS, Array, Carry


class Settings(NamedTuple):
    """What is known when the program is traced."""

    cell: str  # with `num_summed`
    reverse: bool
    dtype: Any  # that the matmuls read


def matmul(left: Array, right: Array, dtype: Any) -> Array:
    """Returns left (..., D) times right (D, G) in `dtype`, as float32 (..., G)."""
    # One axis of rows: XLA's CPU takes a batched bfloat16 product by a path half as fast. The
    # kernel is cast here and not outside a loop: its gradient is then summed over the steps in
    # float32, and the matmuls of the backward pass read `dtype` too.
    rows = left.reshape(-1, left.shape[-1]).astype(dtype)
    product = jnp.dot(rows, right.astype(dtype)).astype(jnp.float32)
    return product.reshape(*left.shape[:-1], right.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recurrence(
    settings: Settings,
    gate_x_TBG: Array,
    mask_TB1: Array | None,
    kernel_h: Array,
    bias_h: Array,
) -> tuple[Array, Array]:
    """Returns (state_TBN, last_BN) of a cell from a zero carry, float32.

    Time comes first: what a step reads and writes then lies together in memory.

    Args:
      settings: the cell, the direction, and the dtype of the matmuls.
      gate_x_TBG: float32, the projected inputs with their bias.
      mask_TB1: bool; where False the step is the identity.
      kernel_h: float32 (N, G).
      bias_h: float32 (G,).
    """
    states, last, _ = _forward(settings, gate_x_TBG, mask_TB1, kernel_h, bias_h, keep=False)
    return states[0], last


def _forward(
    settings: Settings,
    gate_x_TBG: Array,
    mask_TB1: Array | None,
    kernel_h: Array,
    bias_h: Array,
    *,
    keep: bool,
) -> tuple[tuple[Array, ...], Array, tuple[Array, ...]]:
    """Returns (the carries after each step, last_BN, the gates that `_known_step` reads)."""
    cell, size = CELLS[settings.cell], kernel_h.shape[0]
    summed = (cell.num_summed or 0) * size

    def body(carry: Carry, inputs: Any) -> tuple[Carry, Any]:
        gate_x_BG, mask_B1 = inputs
        gate_h_BG = matmul(carry[0], kernel_h, settings.dtype) + bias_h
        both_BG = gate_x_BG[:, :summed] + gate_h_BG[:, :summed]
        gates = (
            jnp.concatenate([both_BG, gate_x_BG[:, summed:]], axis=-1),
            gate_h_BG[:, summed:],
        )
        # Written down before they are read: XLA's CPU would fuse their cutting and joining into the
        # cell's step, which then runs on one core and eight times as long.
        carry = _known_step(settings.cell, carry, lax.optimization_barrier(gates), mask_B1)
        return carry, (carry, gates) if keep else (carry[:1], ())

    start = (jnp.zeros((gate_x_TBG.shape[1], size), jnp.float32),) * cell.num_carries
    last, (states, gates) = lax.scan(body, start, (gate_x_TBG, mask_TB1), reverse=settings.reverse)
    return states, last[0], gates


def _known_step(
    cell: str, carry: Carry, gates: tuple[Array, Array], mask_B1: Array | None
) -> Carry:
    """Returns the next carry from gate_x_BG, whose summed gates hold the product too, and the rest.

    Args:
      gates: (B, G), and the product of the gates that are not summed (B, G - summed).
    """
    gate_x_BG, others = gates
    size = carry[0].shape[-1]
    product_BG = jnp.pad(others, ((0, 0), (gate_x_BG.shape[-1] - others.shape[-1], 0)))

    def product(_: Array, first: int, last: int) -> Array:
        return product_BG[:, first * size : last * size]

    return masked(CELLS[cell].step(carry, gate_x_BG, product), carry, mask_B1)


def masked(new: Carry, old: Carry, mask_B1: Array | None) -> Carry:
    """Returns the new carry where the mask is True, else the old one."""
    if mask_B1 is None:
        return new
    return tuple(jnp.where(mask_B1, n, o) for n, o in zip(new, old, strict=True))


def _forward_rule(
    settings: Settings, gate_x_TBG: Array, mask_TB1: Array | None, kernel_h: Array, bias_h: Array
) -> tuple[tuple[Array, Array], Any]:
    states, last, gates = _forward(settings, gate_x_TBG, mask_TB1, kernel_h, bias_h, keep=True)
    return (states[0], last), (states, gates, mask_TB1, kernel_h)


def _backward_rule(settings: Settings, kept: Any, grads: tuple[Array, Array]) -> tuple:
    states, gates, mask_TB1, kernel_h = kept
    state_grad_TBN, last_grad = grads
    summed = (CELLS[settings.cell].num_summed or 0) * kernel_h.shape[0]
    before = tuple(_shift(state_TBN, settings.reverse) for state_TBN in states)
    transposed = kernel_h.T

    def body(carry_grad: Carry, inputs: Any) -> tuple[Carry, Any]:
        carry, gate, state_grad_BN, mask_B1 = inputs
        step = functools.partial(_known_step, settings.cell, mask_B1=mask_B1)
        _, pull = jax.vjp(step, carry, gate)
        carry_grad, gate_grad = pull((carry_grad[0] + state_grad_BN, *carry_grad[1:]))
        h_grad_BG = jnp.concatenate([gate_grad[0][:, :summed], gate_grad[1]], axis=-1)
        product_BN = matmul(h_grad_BG, transposed, settings.dtype)
        return (carry_grad[0] + product_BN, *carry_grad[1:]), gate_grad

    carry_grad = (last_grad, *[jnp.zeros_like(last_grad) for _ in states[1:]])
    inputs = (before, gates, state_grad_TBN, mask_TB1)
    _, gate_grads = lax.scan(body, carry_grad, inputs, reverse=not settings.reverse)
    h_grads = [gate_grads[0][..., :summed], gate_grads[1]]
    kernel_grad = jnp.concatenate(
        [_weight_gradient(before[0], grad, settings.dtype) for grad in h_grads], axis=-1
    )
    bias_grad = jnp.concatenate([grad.sum((0, 1)) for grad in h_grads])
    return gate_grads[0], None, kernel_grad, bias_grad


recurrence.defvjp(_forward_rule, _backward_rule)


def _weight_gradient(state_TBN: Array, grad_TBG: Array, dtype: Any) -> Array:
    """Returns (N, G), float32: the sum over steps and examples of their outer products."""
    left, right = state_TBN.astype(dtype), grad_TBG.astype(dtype)
    both = ((0, 1), (0, 1))  # not folded into one axis: the batch may be split over devices
    return lax.dot_general(left, right, (both, ((), ())), preferred_element_type=jnp.float32)


def _shift(state_TBN: Array, reverse: bool) -> Array:
    """Returns the state before each step."""
    zero_1BN = jnp.zeros_like(state_TBN[:1])
    parts = [state_TBN[1:], zero_1BN] if reverse else [zero_1BN, state_TBN[:-1]]
    return jnp.concatenate(parts)
