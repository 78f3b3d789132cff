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
    gate_x_BTG: Array,
    mask_BT: Array | None,
    kernel_h: Array,
    bias_h: Array,
) -> tuple[Array, Array]:
    """Returns (state_BTN, last_BN) of a cell from a zero carry, float32.

    Args:
      settings: the cell, the direction, and the dtype of the matmuls.
      gate_x_BTG: float32, the projected inputs with their bias.
      mask_BT: bool; where False the step is the identity.
      kernel_h: float32 (N, G).
      bias_h: float32 (G,).
    """
    states, last, _ = _forward(settings, gate_x_BTG, mask_BT, kernel_h, bias_h, keep=False)
    return states[0], last


def _forward(
    settings: Settings,
    gate_x_BTG: Array,
    mask_BT: Array | None,
    kernel_h: Array,
    bias_h: Array,
    *,
    keep: bool,
) -> tuple[list[Array], Array, list[Array]]:
    """Returns (the carries after each step, last_BN, the gates that `_step_of_gates` reads)."""
    cell = CELLS[settings.cell]
    (batch, num_steps, width), size = gate_x_BTG.shape, kernel_h.shape[0]
    summed = (cell.num_summed or 0) * size

    def body(loop: Any, index: Array) -> tuple[Any, None]:
        carry, states, gates = loop
        at = num_steps - 1 - index if settings.reverse else index
        gate_h_BG = matmul(carry[0], kernel_h, settings.dtype) + bias_h
        gate_x_BG = _read(gate_x_BTG, at)
        both_BG = gate_x_BG[:, :summed] + gate_h_BG[:, :summed]
        new = (
            jnp.concatenate([both_BG, gate_x_BG[:, summed:]], axis=-1),
            gate_h_BG[:, summed:],
        )
        carry = _known_step(settings.cell, carry, new, _read_mask(mask_BT, at))
        states = [_write(old, state, at) for old, state in zip(states, carry, strict=False)]
        gates = [_write(old, gate, at) for old, gate in zip(gates, new, strict=False)]
        return (carry, states, gates), None

    carry = (jnp.zeros((batch, size), jnp.float32),) * cell.num_carries
    empty = functools.partial(_empty, batch, num_steps)
    states = [empty(size) for _ in (carry if keep else carry[:1])]
    gates = [empty(width), empty(width - summed)] if keep else []
    loop, _ = lax.scan(body, (carry, states, gates), jnp.arange(num_steps))
    carry, states, gates = loop
    return states, carry[0], gates


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
    settings: Settings, gate_x_BTG: Array, mask_BT: Array | None, kernel_h: Array, bias_h: Array
) -> tuple[tuple[Array, Array], Any]:
    states, last, gates = _forward(settings, gate_x_BTG, mask_BT, kernel_h, bias_h, keep=True)
    return (states[0], last), (states, gates, mask_BT, kernel_h)


def _backward_rule(settings: Settings, kept: Any, grads: tuple[Array, Array]) -> tuple:
    states, gates, mask_BT, kernel_h = kept
    state_grad_BTN, last_grad = grads
    batch, num_steps, width = gates[0].shape
    size = kernel_h.shape[0]
    summed = (CELLS[settings.cell].num_summed or 0) * size
    before = [_shift(state_BTN, settings.reverse) for state_BTN in states]
    transposed = kernel_h.T

    def body(loop: Any, index: Array) -> tuple[Any, None]:
        carry_grad, gate_grads = loop
        at = index if settings.reverse else num_steps - 1 - index
        step = functools.partial(_known_step, settings.cell, mask_B1=_read_mask(mask_BT, at))
        carry = tuple(_read(state_BTN, at) for state_BTN in before)
        _, pull = jax.vjp(step, carry, tuple(_read(gate, at) for gate in gates))
        hidden_grad = carry_grad[0] + _read(state_grad_BTN, at)
        carry_grad, new = pull((hidden_grad, *carry_grad[1:]))
        h_grad_BG = jnp.concatenate([new[0][:, :summed], new[1]], axis=-1)
        product = matmul(h_grad_BG, transposed, settings.dtype)
        gate_grads = [_write(old, grad, at) for old, grad in zip(gate_grads, new, strict=True)]
        return ((carry_grad[0] + product, *carry_grad[1:]), gate_grads), None

    zero = jnp.zeros((batch, size), jnp.float32)
    carry_grad = (last_grad, *[zero for _ in states[1:]])
    gate_grads = [_empty(batch, num_steps, size) for size in (width, width - summed)]
    (_, gate_grads), _ = lax.scan(body, (carry_grad, gate_grads), jnp.arange(num_steps))
    h_grads = [gate_grads[0][..., :summed], gate_grads[1]]
    kernel_grad = jnp.concatenate(
        [_weight_gradient(before[0], grad, settings.dtype) for grad in h_grads], axis=-1
    )
    bias_grad = jnp.concatenate([grad.sum((0, 1)) for grad in h_grads])
    return gate_grads[0], None, kernel_grad, bias_grad


recurrence.defvjp(_forward_rule, _backward_rule)


def _weight_gradient(state_BTN: Array, grad_BTG: Array, dtype: Any) -> Array:
    """Returns (N, G), float32: the sum over examples and steps of their outer products."""
    num_rows = state_BTN.shape[0] * state_BTN.shape[1]
    left = state_BTN.reshape(num_rows, -1).astype(dtype)
    right = grad_BTG.reshape(num_rows, grad_BTG.shape[-1]).astype(dtype)
    return lax.dot_general(
        left, right, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )


def _shift(state_BTN: Array, reverse: bool) -> Array:
    """Returns the state before each step."""
    if reverse:
        return jnp.pad(state_BTN[:, 1:], ((0, 0), (0, 1), (0, 0)))
    return jnp.pad(state_BTN[:, :-1], ((0, 0), (1, 0), (0, 0)))


def _empty(batch: int, num_steps: int, size: int) -> Array:
    return jnp.zeros((batch, num_steps, size), jnp.float32)


def _read(value_BTX: Array, at: Array) -> Array:
    return lax.dynamic_index_in_dim(value_BTX, at, 1, keepdims=False)


def _write(value_BTX: Array, step_BX: Array, at: Array) -> Array:
    return lax.dynamic_update_index_in_dim(value_BTX, step_BX, at, 1)


def _read_mask(mask_BT: Array | None, at: Array) -> Array | None:
    return None if mask_BT is None else lax.dynamic_slice_in_dim(mask_BT, at, 1, axis=1)
