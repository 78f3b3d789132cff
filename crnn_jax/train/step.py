"""The pure steps that run under jit: one optimizer step, one evaluation batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from crnn_jax.data.transforms import views
from crnn_jax.metrics import Classification as Metrics
from crnn_jax.models.heads import Output
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


def repeat_step(
    train_step: Callable[[TrainState, Metrics, Inputs], tuple[TrainState, Metrics]], num_steps: int
) -> Callable[[TrainState, Metrics, Inputs], tuple[TrainState, Metrics]]:
    """Returns a function of the same arguments that takes `num_steps` steps, in one program.

    The inputs serve every step: the resident pipeline's do, from which a step takes its own batch.
    """
    if num_steps == 1:
        return train_step

    def train_steps(
        state: TrainState, totals: Metrics, inputs: Inputs
    ) -> tuple[TrainState, Metrics]:
        def body(
            carry: tuple[TrainState, Metrics], _: None
        ) -> tuple[tuple[TrainState, Metrics], None]:
            return train_step(*carry, inputs), None

        return jax.lax.scan(body, (state, totals), length=num_steps)[0]

    return train_steps


def make_eval_step(
    model: nn.Module,
    task: Task,
    assemble: Assemble,
    *,
    weights: str,
    ema_decay: float,
    tta: str,
) -> Callable[[TrainState, Metrics, Inputs, jax.Array], Metrics]:
    """Returns eval_step(state, totals, inputs, first_index) -> totals plus this batch's metrics.

    Args:
      model: of `models.build_model`.
      task: says what the model sees and what is counted.
      assemble: of a pipeline.
      weights: "last" or "ema".
      ema_decay: of the average.
      tta: "none", or the views of an image (`transforms.views`) whose logits are averaged.
    """

    def eval_step(
        state: TrainState, totals: Metrics, inputs: Inputs, first_index: jax.Array
    ) -> Metrics:
        batch = assemble(inputs, first_index)
        image_BHWC = task.image(batch, state.norm, state.seed, train=False)
        tree = variables(state, weights, ema_decay)
        logits_BK = jnp.float32(0)
        for weight, view_BHWC in views(image_BHWC, tta):
            output: Any = model.apply(tree, view_BHWC, train=False)
            logits_BK += weight * output.logits_BK
        return totals.merge(task.loss(Output(logits_BK), batch, train=False)[1])

    return eval_step
