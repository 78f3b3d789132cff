"""What the layers of a model return, by the path that its parameters have."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.models.trunk import Features

Array = jax.Array
HEAD = "head"


def layer_names(model: nn.Module, input_shape: Sequence[int]) -> list[str]:
    """Returns the paths of the layers that the model calls, as "trunk/conv_0_0", in their order.

    Args:
      model: called as `model.apply(variables, pixels, train=False)`; nothing is computed.
      input_shape: shape of an example.
    """
    names: list[str] = []

    def note(path: str, inputs: Any, output: Any) -> None:
        del inputs, output
        if path and path not in names:
            names.append(path)

    pixels = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    with _calls(note):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), pixels)
    return names


def layer_output(model: nn.Module, variables: Any, pixels: Array, layer: str | None) -> Array:
    """Returns what a layer makes of normalised pixels, (B, ...); None: what the head reads.

    It is the first of several results: a recurrent layer's states, a trunk's last map.
    Where a layer reads frames or lines as examples of their own they are axis 1.

    Args:
      model: from `build_model`.
      variables: the model's.
      pixels: (B, ...), B above 0.
      layer: one of `layer_names`.
    """
    found: list[Any] = []

    def note(path: str, inputs: Any, output: Any) -> None:
        if path == (HEAD if layer is None else layer):
            found.append(inputs[0] if layer is None else output)

    with _calls(note):
        model.apply(variables, pixels, train=False)
    result = found[0]
    if isinstance(result, Features):
        result = result.map_BHWC
    if isinstance(result, tuple):
        result = result[0]
    batch = pixels.shape[0]
    if result.shape[0] != batch:
        result = result.reshape(batch, result.shape[0] // batch, *result.shape[1:])
    return result


def _calls(note: Callable[[str, Any, Any], None]) -> Any:
    """Returns a context in which `note` is told the path, arguments and result of each layer."""

    def record(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        output = next_call(*args, **kwargs)
        if context.method_name == "__call__":
            note("/".join(context.module.path), args, output)
        return output

    return nn.intercept_methods(record)
