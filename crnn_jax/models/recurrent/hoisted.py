"""The recurrence over inputs projected by one matmul before it, with a backward pass of its own.

JAX's gradient of a scan adds each step's part of the recurrent weights' gradient to a sum: a thin
matmul and a pass over the whole kernel at every step. Here the loop back through time carries the
state's gradient alone and writes the gates' gradients down; the weights' gradient is one matmul
over all steps after it. What the forward loop keeps are the gates before their non-linearities,
and the states; the rest of a step is computed again, which costs no matmul.

Gates come in two parts, each an array of its own: those that a cell reads only as the sum of both
projections (`Cell.num_summed`), and the rest. Joined, they would be copied at every step.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from crnn_jax.axes import along_last
from crnn_jax.models.recurrent.cells import CELLS, Array, Carry
from crnn_jax.models.recurrent.scan import over_inputs, scan
from crnn_jax.models.recurrent.time_steps import over_steps, unroll_steps
from crnn_jax.models.recurrent.weights import Settings, Weights, affine, masked, matmul


def hoisted(
    settings: Settings, feature_BTD: Array, mask_BT: Array | None, weights: Weights
) -> tuple[Array, Array]:
    """Returns (state_BTN, last_BN), float32: one matmul projects the inputs of all steps.

    With remat it is `scan`, and for a cell without `num_summed` a scan over the projected inputs.

    Args:
      settings: for any cell, with or without remat.
      feature_BTD: any float dtype.
      mask_BT: bool; where False the step is the identity.
      weights: the layer's.
    """
    if settings.remat:
        return scan(settings, feature_BTD, mask_BT, weights)
    if CELLS[settings.cell].num_summed is None:
        gate_x_BTG = affine(feature_BTD, weights.kernel_x, weights.bias, settings.dtype)
        return over_inputs(settings, gate_x_BTG, mask_BT, lambda gate_x_BG: gate_x_BG, weights)
    mask_BT1 = None if mask_BT is None else mask_BT[..., None]
    return recurrence(settings, feature_BTD, mask_BT1, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recurrence(
    settings: Settings, feature_BTD: Array, mask_BT1: Array | None, weights: Weights
) -> tuple[Array, Array]:
    """Returns (state_BTN, last_BN) of a cell from a zero carry, float32.

    Args:
      settings: for a cell with `num_summed`, without remat.
      feature_BTD: any float dtype.
      mask_BT1: bool; where False the step is the identity.
      weights: the layer's.
    """
    states, last, _ = _forward(settings, feature_BTD, mask_BT1, weights, keep=False)
    return states[0], last


def _forward(
    settings: Settings,
    feature_BTD: Array,
    mask_BT1: Array | None,
    weights: Weights,
    *,
    keep: bool,
) -> tuple[tuple[Array, ...], Array, tuple[Array, ...]]:
    """Returns (the carries after each step, last_BN, the gates that `known_step` reads)."""
    batch, num_steps, _ = feature_BTD.shape
    summed, rest = _parts(settings, weights)
    sum_x_BTG, rest_x_BTG = (
        matmul(feature_BTD, weights.kernel_x[:, part], settings.dtype) for part in (summed, rest)
    )
    rest_x_BTG += along_last(weights.bias[rest], rest_x_BTG)
    # Added where both sums are.
    sum_bias_1G = (weights.bias[summed] + weights.bias_h[summed])[None]
    product, _ = _products(settings, weights, num_steps)

    def step(carry: Carry, sum_x: tuple[Array, ...], read: Any) -> tuple[Carry, Any, Any]:
        (sum_x_BG,), (rest_x_BG, mask_B1) = sum_x, read
        sum_h_BG, rest_h_BG = product(carry[0])
        # Written down before they are read: XLA's CPU would cut the gates out of their arrays in
        # the loop of the cell's step, which then runs eight times as long.
        sum_BG, rest_h_BG = lax.optimization_barrier(
            (sum_x_BG + sum_h_BG + sum_bias_1G, rest_h_BG + weights.bias_h[None, rest])
        )
        carry = known_step(settings.cell, carry, (sum_BG, rest_x_BG, rest_h_BG), mask_B1)
        return carry, (sum_BG,), (carry, rest_h_BG) if keep else (carry[:1], ())

    zero_BN = jnp.zeros((batch, weights.kernel_h.shape[0]), jnp.float32)
    carry = (zero_BN,) * CELLS[settings.cell].num_carries
    last, sums, (states, rest_h_BTG) = over_steps(
        step, carry, (sum_x_BTG,), (rest_x_BTG, mask_BT1), reverse=settings.reverse, replace=keep
    )
    if not keep:
        return states, last[0], ()
    return states, last[0], (*sums, rest_x_BTG, rest_h_BTG)


def _parts(settings: Settings, weights: Weights) -> tuple[slice, slice]:
    """Returns which gates, in numbers, a step reads as a sum alone, and which are the rest."""
    num_summed = CELLS[settings.cell].num_summed
    assert num_summed is not None
    summed = num_summed * weights.kernel_h.shape[0]
    return slice(summed), slice(summed, None)


def _products(
    settings: Settings, weights: Weights, num_steps: int
) -> tuple[Callable[[Array], tuple[Array, Array]], Callable[[tuple[Array, Array]], Array]]:
    """Returns (a state -> its products with the two parts of `kernel_h`, and the transpose of it).

    In a loop one product with the whole kernel; where the steps are unrolled one with each part: a
    CPU runs the two side by side, and what needs only one of them (128 examples, T = 8, N = 512:
    an eighth faster).
    """
    dtype, (first, second) = settings.dtype, _parts(settings, weights)
    kernel, transposed = weights.kernel_h, weights.kernel_h.T

    def one(state_BN: Array) -> tuple[Array, Array]:
        product_BG = matmul(state_BN, kernel, dtype)
        return product_BG[:, first], product_BG[:, second]

    def two(state_BN: Array) -> tuple[Array, Array]:
        return matmul(state_BN, kernel[:, first], dtype), matmul(state_BN, kernel[:, second], dtype)

    def pull_one(grads: tuple[Array, Array]) -> Array:
        return matmul(jnp.concatenate(grads, axis=-1), transposed, dtype)

    def pull_two(grads: tuple[Array, Array]) -> Array:
        return matmul(grads[0], transposed[first], dtype) + matmul(
            grads[1], transposed[second], dtype
        )

    return (two, pull_two) if unroll_steps(num_steps) == num_steps else (one, pull_one)


def known_step(
    cell: str, carry: Carry, gates: tuple[Array, Array, Array], mask_B1: Array | None
) -> Carry:
    """Returns the next carry, where all products are known.

    Args:
      cell: one of `CELLS`.
      carry: before the step.
      gates: the sum of both projections (B, summed), and of the other gates the input's and the
        state's projection, (B, G - summed) each.
      mask_B1: as `recurrence` has it.
    """
    sum_BG, rest_x_BG, rest_h_BG = gates
    size, summed = carry[0].shape[-1], sum_BG.shape[-1]
    product_BG = jnp.pad(rest_h_BG, ((0, 0), (summed, 0)))

    def product(_: Array, first: int, last: int) -> Array:
        return product_BG[:, first * size : last * size]

    gate_x_BG = jnp.concatenate([sum_BG, rest_x_BG], axis=-1)
    return masked(CELLS[cell].step(carry, gate_x_BG, product), carry, mask_B1)


def _forward_rule(
    settings: Settings, feature_BTD: Array, mask_BT1: Array | None, weights: Weights
) -> tuple[tuple[Array, Array], Any]:
    states, last, gates = _forward(settings, feature_BTD, mask_BT1, weights, keep=True)
    return (states[0], last), (states, gates, feature_BTD, mask_BT1, weights)


def _backward_rule(settings: Settings, kept: Any, grads: tuple[Array, Array]) -> tuple:
    states, gates, feature_BTD, mask_BT1, weights = kept
    state_grad_BTN, last_grad = grads
    before = tuple(_shift(state_BTN, settings.reverse) for state_BTN in states)
    _, pull_product = _products(settings, weights, state_grad_BTN.shape[1])

    def step(carry_grad: Carry, gate: tuple[Array, ...], read: Any) -> tuple[Carry, Any, Any]:
        carry, state_grad_BN, mask_B1 = read
        known = functools.partial(known_step, settings.cell, mask_B1=mask_B1)
        _, pull = jax.vjp(known, carry, gate)
        carry_grad, gate_grad = pull((carry_grad[0] + state_grad_BN, *carry_grad[1:]))
        # Written down before they are read, for XLA would compute them for each reader.
        carry_grad, gate_grad = lax.optimization_barrier((carry_grad, gate_grad))
        product_BN = pull_product((gate_grad[0], gate_grad[2]))
        return (carry_grad[0] + product_BN, *carry_grad[1:]), gate_grad, ()

    _, (sum_grad_BTG, rest_x_grad_BTG, rest_h_grad_BTG), _ = over_steps(
        step,
        (last_grad, *[jnp.zeros_like(last_grad) for _ in states[1:]]),
        gates,
        (before, state_grad_BTN, mask_BT1),
        reverse=not settings.reverse,
    )
    x_grads = (sum_grad_BTG, rest_x_grad_BTG)
    h_grads = (sum_grad_BTG, rest_h_grad_BTG)
    sum_BTD, rest_BTD = (
        matmul(grad, weights.kernel_x[:, part].T, settings.dtype)
        for grad, part in zip(x_grads, _parts(settings, weights), strict=True)
    )
    weights_grad = Weights(
        _weight_gradient(feature_BTD, x_grads, settings.dtype),
        _bias_gradient(x_grads),
        _weight_gradient(before[0], h_grads, settings.dtype),
        _bias_gradient(h_grads),
    )
    return (sum_BTD + rest_BTD).astype(feature_BTD.dtype), None, weights_grad


recurrence.defvjp(_forward_rule, _backward_rule)


def _weight_gradient(value_BTD: Array, grads: tuple[Array, Array], dtype: Any) -> Array:
    """Returns (D, G), float32: the sum over steps and examples of their outer products."""
    both = (((0, 1), (0, 1)), ((), ()))  # as one axis a CPU would turn `value` inside the product
    parts = [
        lax.dot_general(
            value_BTD.astype(dtype), grad.astype(dtype), both, preferred_element_type=jnp.float32
        )
        for grad in grads
    ]
    return jnp.concatenate(parts, axis=-1)


def _bias_gradient(grads: tuple[Array, Array]) -> Array:
    return jnp.concatenate([grad.sum((0, 1)) for grad in grads])


def _shift(state_BTN: Array, reverse: bool) -> Array:
    """Returns the state before each step."""
    zero_B1N = jnp.zeros_like(state_BTN[:, :1])
    parts = [state_BTN[:, 1:], zero_B1N] if reverse else [zero_B1N, state_BTN[:, :-1]]
    return jnp.concatenate(parts, axis=1)
