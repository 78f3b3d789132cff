"""What passes between the parts of a model: read it, or put something else in its place."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.models.heads import Output
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.trunk import Features, Trunk

Array = jax.Array


class Passed(NamedTuple):
    """What one evaluation passed on.

    Attributes:
      output: the model's.
      feature_BTD: that the recurrence read, in its dtype.
      state_BTN: after each step, float32.
      attention_BT: weights of the states, of sum 1; None where the readout has none.
    """

    output: Output
    feature_BTD: Array
    state_BTN: Array
    attention_BT: Array | None


def through_recurrence(
    model: nn.Module, weights: Any, pixels: Array, feature_BTD: Array | None = None
) -> Passed:
    """Returns what a model with one recurrence passes on in an evaluation.

    Args:
      model: with a field `recurrent`.
      weights: its variables.
      pixels: normalised, (B, H, W, C) or (B, F, H, W, C).
      feature_BTD: that the recurrence reads in place of what it is given.
    """
    seen: dict[str, Array] = {}

    def intercept(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if not _is_call_of(context, Recurrent):
            return next_call(*args, **kwargs)
        seen["feature"] = args[0] if feature_BTD is None else feature_BTD
        states = next_call(seen["feature"], *args[1:], **kwargs)
        seen["state"] = states[0]
        return states

    with nn.intercept_methods(intercept):
        applied: Any = model.apply(weights, pixels, train=False, mutable=["intermediates"])
    output, kept = applied
    attention = kept.get("intermediates", {}).get("readout", {}).get("attention_BT", (None,))
    return Passed(output, seen["feature"], seen["state"], attention[0])


def through_trunk(
    model: nn.Module, weights: Any, pixels: Array, map_BHWC: Array | None = None
) -> tuple[Output, Array]:
    """Returns (the model's output, its trunk's last map) of an evaluation.

    Args:
      model: with a field `trunk`.
      weights: its variables.
      pixels: normalised, (B, H, W, C) or (B, F, H, W, C).
      map_BHWC: that takes the last map's place; of a model that cuts images into frames, B is that
        of all frames.
    """
    seen: dict[str, Array] = {}

    def intercept(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        features = next_call(*args, **kwargs)
        if not _is_call_of(context, Trunk):
            return features
        if map_BHWC is not None:
            features = _with_last_map(features, map_BHWC)
        seen["map"] = features.map_BHWC
        return features

    with nn.intercept_methods(intercept):
        output: Any = model.apply(weights, pixels, train=False)
    return output, seen["map"]


def _is_call_of(context: Any, kind: type[nn.Module]) -> bool:
    return isinstance(context.module, kind) and context.method_name == "__call__"


def _with_last_map(features: Features, map_BHWC: Array) -> Features:
    maps = {**features.maps, max(features.maps): map_BHWC}
    pooled_BD = jnp.mean(map_BHWC, axis=(1, 2), dtype=jnp.float32)  # as `Trunk` makes it
    return dataclasses.replace(features, maps=maps, pooled_BD=pooled_BD)
