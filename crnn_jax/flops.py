"""Analytic floating-point operations of a function, from its jaxpr: nothing is computed.

XLA's own `cost_analysis` counts a scan's body once, whatever its length; here it counts T times.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

# FLOPs of a training step over its forward pass's, by convention: the backward pass makes two
# products for each one of the forward pass. What remat computes again does not count, nor is the
# gradient of the first layer's input, which nobody computes, taken off.
TRAIN_OVER_FORWARD = 3


def count_flops(fn: Callable[..., Any], *args: Any) -> int:
    """Returns the operations of matrix products and convolutions in `fn(*args)`.

    A multiply-add counts 2, padded positions count as any, element-wise work counts 0. The body of
    a scan counts once a step; of a conditional's branches the costliest counts, and of the ways
    that platforms have of computing the same (`lax.platform_dependent`) the cheapest.

    Args:
      fn: traceable by JAX.
      *args: arrays or `jax.ShapeDtypeStruct`s, in pytrees.

    Raises:
      ValueError: a while loop (its length is unknown) has a product or a convolution in its body.
    """
    return _jaxpr_flops(jax.make_jaxpr(fn)(*args).jaxpr)


def forward_flops_per_image(model: nn.Module, variables: Any, input_shape: tuple[int, ...]) -> int:
    """Returns `count_flops` of the model's evaluation of one image.

    Args:
      model: called as `model.apply(variables, pixels, train=False)`.
      variables: its variables, or their shapes.
      input_shape: (H, W, C), or (F, H, W, C).
    """
    pixels = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    return count_flops(lambda v, x: model.apply(v, x, train=False), variables, pixels)


def _jaxpr_flops(jaxpr: Any) -> int:
    return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation: Any) -> int:
    name = equation.primitive.name
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2 * _size(equation) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        out_axis = equation.params["dimension_numbers"].rhs_spec[0]
        # All of the kernel but its output channels; its input channels are those of one group.
        taps = math.prod(size for axis, size in enumerate(kernel) if axis != out_axis)
        return 2 * _size(equation) * taps // equation.params["batch_group_count"]
    if name == "pallas_call":
        return equation.params["cost_estimate"].flops  # the whole grid's, as the kernel says
    inner = [_jaxpr_flops(jaxpr) for jaxpr in _inner_jaxprs(equation)]
    if name == "while" and any(inner):
        raise ValueError("a while loop's length is unknown: expected lax.scan around a product")
    if name == "scan":
        return equation.params["length"] * sum(inner)
    if name == "cond":
        choose = max if equation.params.get("branches_platforms") is None else min
        return choose(inner, default=0)
    return sum(inner)


def _size(equation: Any) -> int:
    return math.prod(equation.outvars[0].aval.shape)


def _inner_jaxprs(equation: Any) -> Iterator[Any]:
    # By their attributes: jit, remat, custom_vjp, cond and scan each have their own parameter.
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            jaxpr = getattr(item, "jaxpr", item)
            if hasattr(jaxpr, "eqns"):
                yield jaxpr
