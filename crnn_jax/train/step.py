"""The pure steps that run under jit: one optimizer step, one evaluation batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax
from flax import linen as nn

from crnn_jax.metrics import Classification as Metrics
from crnn_jax.tasks import Classification as Task
from crnn_jax.train.state import TrainState, step_rngs, update_ema, variables

Inputs = Any
Assemble = Callable[[Inputs, jax.Array], dict[str, jax.Array]]


def make_train_step(
    model: nn.Module,
    task: Task,
    optimizer: optax.GradientTransformation,
    assemble: Assemble,
    *,
    ema_decay: float,
) -> Callable[[TrainState, Metrics, Inputs], tuple[TrainState, Metrics]]:
    """Returns train_step(state, totals, inputs) -> (state, totals plus this batch's metrics).

    The batch's indices, its images and their augmentation are made inside, from the step number:
    with resident data nothing goes from host to device. Under a sharded batch the compiler adds the
    gradient's all-reduce, and BatchNorm sees the global batch.
    """

    def train_step(
        state: TrainState, totals: Metrics, inputs: Inputs
    ) -> tuple[TrainState, Metrics]:
        batch = task.targets(assemble(inputs, state.step), state.seed)
        image_BHWC = task.image(batch, state.norm, state.seed, train=True)

        def loss_fn(params: Any) -> tuple[jax.Array, tuple[Any, Metrics]]:
            output, updated = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                image_BHWC,
                train=True,
                rngs=step_rngs(state),
                mutable=["batch_stats"],
            )
            loss, metrics = task.loss(output, batch, train=True)
            return loss, (updated.get("batch_stats", {}), metrics)

        grads, (batch_stats, metrics) = jax.grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return update_ema(state, ema_decay), totals.merge(metrics)

    return train_step


def make_eval_step(
    model: nn.Module, task: Task, assemble: Assemble, *, weights: str, ema_decay: float
) -> Callable[[TrainState, Metrics, Inputs, jax.Array], Metrics]:
    """Returns eval_step(state, totals, inputs, first_index) -> totals plus this batch's metrics.

    `weights` is "last" or "ema".
    """

    def eval_step(
        state: TrainState, totals: Metrics, inputs: Inputs, first_index: jax.Array
    ) -> Metrics:
        batch = assemble(inputs, first_index)
        image_BHWC = task.image(batch, state.norm, state.seed, train=False)
        output = model.apply(variables(state, weights, ema_decay), image_BHWC, train=False)
        return totals.merge(task.loss(output, batch, train=False)[1])

    return eval_step
