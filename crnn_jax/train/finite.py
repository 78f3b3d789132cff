"""Numbers that are none: NaN and inf in a state or its loss."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax.train.state import TrainState

Tree = Any


def is_finite(*trees: Tree) -> jax.Array:
    """Returns whether all floating-point numbers of the trees are finite, a bool of the device."""
    leaves = [x for x in jax.tree.leaves(trees) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in leaves]))


def skip_if_not_finite(
    before: TrainState, after: TrainState, metrics: Tree, most: int
) -> tuple[TrainState, Tree]:
    """Returns (`after`, `metrics`), or without the update, and no metrics, where one is not finite.

    `optax.apply_if_finite` looks at gradients alone: an update of finite ones may overflow, and the
    statistics of a batch are none of the optimizer's. Whole numbers go on in a skipped step: they
    count steps, by which learning rates and data are found. The average moves on by the weights
    that stay.

    Args:
      before: the state, whose `skipped` is there.
      after: the state after the update, but for the average.
      metrics: the batch's.
      most: skipped in a row; the next one is taken, so that the run ends of it.
    """
    good = is_finite(after.params, after.batch_stats, after.opt_state, metrics)
    in_a_row = jnp.where(good, 0, before.skipped["in_a_row"] + 1)
    taken = good | (in_a_row > most)

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(taken, new, old) if jnp.issubdtype(new.dtype, jnp.floating) else new

    total = before.skipped["total"] + jnp.where(taken, 0, 1)
    kept = dataclasses.replace(
        jax.tree.map(choose, after, before), skipped={"in_a_row": in_a_row, "total": total}
    )
    return kept, jax.tree.map(lambda x: jnp.where(taken, x, jnp.zeros_like(x)), metrics)
