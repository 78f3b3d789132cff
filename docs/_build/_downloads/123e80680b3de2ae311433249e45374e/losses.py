"""Per-example losses, and their weighted mean."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
    logits_BK: jax.Array, label_B: jax.Array, *, label_smoothing: float = 0.0
) -> jax.Array:
    """Returns loss_B, the cross-entropy of each example (Eq. 2), in nats.

    Args:
      logits_BK: float; converted to float32. Any leading dimensions may stand for B.
      label_B: integer classes in 0..K-1.
      label_smoothing: in [0, 1): the target is (1 - s) one_hot + s / K (Szegedy et al. 2016); the
        paper has none.
    """
    logits_BK = logits_BK.astype(jnp.float32)
    if label_smoothing == 0.0:
        return optax.softmax_cross_entropy_with_integer_labels(logits_BK, label_B)
    target_BK = optax.smooth_labels(
        jax.nn.one_hot(label_B, logits_BK.shape[-1], dtype=jnp.float32), label_smoothing
    )
    return optax.softmax_cross_entropy(logits_BK, target_BK)


def weighted_mean(value_B: jax.Array, weight_B: jax.Array) -> jax.Array:
    """Returns sum(value * weight) / sum(weight), and 0 where all weights are 0."""
    return jnp.sum(value_B * weight_B) / jnp.maximum(jnp.sum(weight_B), 1e-12)
