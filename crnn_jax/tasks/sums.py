"""Mergeable metrics: sums on the device that are added over batches."""

from typing import Self

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Sums:
    """Sums over examples with weight above 0; a task's own add to them. `merge` adds two."""

    loss_sum: jax.Array  # float32, weighted
    weight_sum: jax.Array  # float32
    num_examples: jax.Array  # int32: exact where a float32 sum would not be

    def merge(self, other: Self) -> Self:
        """Returns the sums over the examples of both."""
        return jax.tree.map(jnp.add, self, other)

    def loss(self) -> float:
        """Returns the mean loss, in the loss's unit; NaN for no example. Waits for the device."""
        return float(self.loss_sum) / float(self.weight_sum) if self.num_examples else float("nan")


def loss_sums(loss_B: jax.Array, weight_B: jax.Array) -> dict[str, jax.Array]:
    """Returns the fields of `Sums` for one batch; examples of weight 0 do not count."""
    counted_B = weight_B > 0
    return {
        "loss_sum": jnp.sum(jnp.where(counted_B, loss_B * weight_B, 0.0)),
        "weight_sum": jnp.sum(weight_B),
        "num_examples": jnp.sum(counted_B.astype(jnp.int32)),
    }


def no_sums() -> dict[str, jax.Array]:
    """Returns the fields of `Sums` for no example."""
    zero, none = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
    return {"loss_sum": zero, "weight_sum": zero, "num_examples": none}
