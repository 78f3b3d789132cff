"""What the modules of a model are called with, what they return and cost: nothing is computed."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.flops import count_flops

Shape = tuple[int, ...]


class Call(NamedTuple):
    """One call of a module inside a model, with a batch of one example.

    Attributes:
      module: apart from the model.
      path: its names, ("trunk", "conv_0_0"); empty for the model itself.
      arguments: positional ones; shapes in place of arrays.
      output: likewise.
      num_parameters: those of the module and all modules inside it.
      flops: those of the call, as `count_flops` counts.
    """

    module: nn.Module
    path: tuple[str, ...]
    arguments: tuple[Any, ...]
    output: Any
    num_parameters: int
    flops: int


def module_calls(model: nn.Module, input_shape: Sequence[int]) -> list[Call]:
    """Returns every call of a module in an evaluation of one example, in the order of their ends.

    Args:
      model: called as `model.apply(variables, pixels, train=False)`.
      input_shape: shape of an example: (H, W, C), or (F, H, W, C) for a clip.
    """
    pixels = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), pixels)
    found: list[tuple[nn.Module, tuple[str, ...], Any, Any, Any]] = []

    def record(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        output = next_call(*args, **kwargs)
        if context.method_name == "__call__":
            path = context.module.path
            module = context.module.clone(parent=None, name=None) if path else model
            found.append((module, path, *jax.tree.map(_shape_of, (args, output)), kwargs))
        return output

    with nn.intercept_methods(record):
        jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, pixels)
    calls = []
    for module, path, args, output, kwargs in found:  # after the interception, which is over now
        own = {kind: subtree(tree, path) for kind, tree in variables.items()}
        parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(own["params"]))
        calls.append(
            Call(module, path, args, output, parameters, _flops(module, own, args, kwargs))
        )
    return calls


def subtree(tree: Any, path: Sequence[str]) -> Any:
    """Returns the part of a tree of nested dicts below `path`; {} where there is none."""
    for name in path:
        tree = tree.get(name, {})
    return tree


def _shape_of(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else leaf


def _flops(module: nn.Module, variables: Any, args: tuple[Any, ...], kwargs: Any) -> int:
    leaves, structure = jax.tree.flatten(args)
    is_array = [isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves]

    def call(variables: Any, *arrays: jax.Array) -> Any:
        given = iter(arrays)  # numbers, such as a stride, stay as they are
        full = [next(given) if a else leaf for leaf, a in zip(leaves, is_array, strict=True)]
        return module.apply(variables, *jax.tree.unflatten(structure, full), **kwargs)

    shapes = [leaf for leaf, a in zip(leaves, is_array, strict=True) if a]
    return count_flops(call, variables, *shapes)
