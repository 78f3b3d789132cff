"""Mergeable metrics: sums that are added over batches and turned into means at the end."""

from typing import Self

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Classification:
    """Sums over examples with weight above 0; `merge` adds two, `compute` divides on the host."""

    loss_sum: jax.Array  # float32, weighted
    weight_sum: jax.Array  # float32
    num_correct: jax.Array  # int32: exact where a float32 sum would not be
    num_examples: jax.Array  # int32

    @classmethod
    def empty(cls) -> Self:
        """Returns the metrics of no example."""
        zero, none = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        return cls(zero, zero, none, none)

    @classmethod
    def from_batch(
        cls, logits_BK: jax.Array, label_B: jax.Array, loss_B: jax.Array, weight_B: jax.Array
    ) -> Self:
        """Returns the sums of one batch; examples of weight 0 do not count."""
        counted_B = weight_B > 0
        correct_B = (jnp.argmax(logits_BK, axis=-1) == label_B) & counted_B
        return cls(
            loss_sum=jnp.sum(jnp.where(counted_B, loss_B * weight_B, 0.0)),
            weight_sum=jnp.sum(weight_B),
            num_correct=jnp.sum(correct_B.astype(jnp.int32)),
            num_examples=jnp.sum(counted_B.astype(jnp.int32)),
        )

    def merge(self, other: Self) -> Self:
        """Returns the metrics of the examples of both."""
        return jax.tree.map(lambda a, b: a + b, self, other)

    def compute(self) -> dict[str, float]:
        """Returns {"loss", "accuracy"} (nats; 0..1), on the host; NaN for no example."""
        host = jax.device_get(self)
        count = float(host.num_examples)
        return {
            "loss": float(host.loss_sum) / float(host.weight_sum) if count else float("nan"),
            "accuracy": float(host.num_correct) / count if count else float("nan"),
        }
