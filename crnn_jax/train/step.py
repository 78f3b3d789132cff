"""The pure steps that run under jit: one optimizer step, one evaluation batch."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh

from crnn_jax.data.transforms import example_keys
from crnn_jax.mesh import batch_parts, tracing_batch
from crnn_jax.sharding import gather, scatter
from crnn_jax.tasks import Task
from crnn_jax.tasks.sums import Sums
from crnn_jax.tasks.task import Predictions
from crnn_jax.train.finite import skip_if_not_finite
from crnn_jax.train.frozen import keeping_statistics, overlay, select, without
from crnn_jax.train.state import TrainState, step_rngs, update_ema, variables

Inputs = Any
Metrics = Sums
Tree = Any
Assemble = Callable[[Inputs, jax.Array], dict[str, jax.Array]]
Gradient = Callable[..., tuple[Tree, Tree, Metrics]]

# A stream of random numbers of an example, beside those of tasks/augmentation.py.
_ORDER = 5


def order_keys(
    model: nn.Module, batch: dict[str, jax.Array], seed: jax.Array | int, *, train: bool
) -> dict[str, Any]:
    """Returns {"order_key_B"} for a model that shuffles each example's steps; {} for any other.

    In training a key is a function of (seed, epoch, example), in evaluation of the example alone:
    every run is evaluated with the same orders, whatever the batch and the devices.
    """
    if getattr(model, "step_order", "natural") != "per_image":
        return {}
    epoch_B, example_B = batch["epoch_B"], batch["example_B"]
    if not train:
        seed, epoch_B = 0, jnp.zeros_like(epoch_B)
    key_B = example_keys(seed, epoch_B, example_B)
    return {"order_key_B": jax.vmap(lambda key: jax.random.fold_in(key, _ORDER))(key_B)}


def make_gradient(
    model: nn.Module, task: Task, mesh: Mesh | None, frozen: Sequence[str] = ()
) -> Gradient:
    """Returns gradient(params, state, batch, rngs, share) -> (grads, batch_stats, metrics).

    The loss is the batch's weighted mean times `share`; `params` are those of `state`, gathered.
    `grads` have no leaves for the parameters whose names the patterns `frozen` match: these are
    constants of the loss. Without a mesh the program is for one device.
    """
    parts = 1 if mesh is None else batch_parts(mesh)

    def gradient(
        params: Tree,
        state: TrainState,
        batch: dict[str, jax.Array],
        rngs: dict[str, jax.Array],
        share: jax.Array | float,
    ) -> tuple[Tree, Tree, Metrics]:
        pixels, batch = task.prepare(batch, state.norm, state.seed, train=True)
        keys = order_keys(model, batch, state.seed, train=True)

        def loss_fn(trained: Tree) -> tuple[jax.Array, tuple[Tree, Metrics]]:
            output, updated = model.apply(
                {"params": overlay(params, trained), "batch_stats": state.batch_stats},
                pixels,
                train=True,
                rngs=rngs,
                mutable=["batch_stats"],
                **keys,
            )
            loss, metrics = task.loss(output, batch, train=True)
            return loss * share, (updated.get("batch_stats", {}), metrics)

        with tracing_batch(parts), keeping_statistics(frozen):
            trained = without(params, frozen)
            grads, (batch_stats, metrics) = jax.grad(loss_fn, has_aux=True)(trained)
        return scatter(grads, mesh), batch_stats, metrics

    return gradient


def accumulate(
    gradient: Gradient, params: Tree, state: TrainState, batch: dict[str, jax.Array], steps: int
) -> tuple[Tree, Tree, Metrics]:
    """Returns what `gradient` returns of the whole batch, from `steps` parts one after another.

    Without BatchNorm and dropout it is that of the whole batch. BatchNorm normalises each part by
    its own statistics, and the running ones move by the parts' mean; each part draws other masks,
    and mixes images with its own.
    """
    rngs = step_rngs(state)
    if steps == 1:
        return gradient(params, state, batch, rngs, 1.0)
    total_weight = jnp.maximum(jnp.sum(batch["weight_B"]), 1e-12)

    def part_gradient(index: jax.Array, part: dict[str, jax.Array]) -> tuple[Tree, Tree, Metrics]:
        keys = {name: jax.random.fold_in(key, index) for name, key in rngs.items()}
        share = jnp.sum(part["weight_B"]) / total_weight
        grads, batch_stats, metrics = gradient(params, state, part, keys, share)
        return grads, stats_change(state, batch_stats, steps), metrics

    def add(total: Tree, numbered: tuple[jax.Array, dict[str, jax.Array]]) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, total, part_gradient(*numbered)), None

    # A part takes every steps-th example: all devices then work on each.
    parts = jax.tree.map(lambda x: x.reshape(-1, steps, *x.shape[1:]).swapaxes(0, 1), batch)
    numbered = jnp.arange(steps), parts
    shapes = jax.eval_shape(part_gradient, *jax.tree.map(lambda x: x[0], numbered))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (grads, change, metrics), _ = jax.lax.scan(add, zeros, numbered)
    return grads, jax.tree.map(jnp.add, state.batch_stats, change), metrics


def stats_change(state: TrainState, batch_stats: Tree, parts: int) -> Tree:
    """Returns a part's share of the change of the running statistics: exactly 0 where fixed."""
    return jax.tree.map(lambda new, old: (new - old) / parts, batch_stats, state.batch_stats)


def apply_gradient(
    state: TrainState,
    grads: Tree,
    batch_stats: Tree,
    metrics: Metrics,
    optimizer: optax.GradientTransformation,
    ema_decay: float,
    skip_nonfinite: int,
) -> tuple[TrainState, Metrics]:
    """Returns (the state after one step of the optimizer, the metrics; none if it was skipped).

    The step is of the parameters that `grads` has.
    """
    trained = select(state.params, grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, trained)
    after = dataclasses.replace(
        state,
        step=state.step + 1,
        params=overlay(state.params, optax.apply_updates(trained, updates)),
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    if skip_nonfinite > 0:
        after, metrics = skip_if_not_finite(state, after, metrics, skip_nonfinite)
    return update_ema(after, ema_decay), metrics


def make_train_step(
    model: nn.Module,
    task: Task,
    optimizer: optax.GradientTransformation,
    assemble: Assemble,
    *,
    ema_decay: float,
    accumulation_steps: int = 1,
    skip_nonfinite: int = 0,
    mesh: Mesh | None = None,
    frozen: Sequence[str] = (),
) -> Callable[[TrainState, Metrics, Inputs], tuple[TrainState, Metrics]]:
    """Returns train_step(state, totals, inputs) -> (state, totals plus this batch's metrics).

    The batch's indices, its images and their augmentation are made inside, from the step number:
    with resident data nothing goes from host to device. Under a sharded batch the compiler adds the
    gradient's all-reduce, and BatchNorm sees the global batch; `accumulate` says what it sees with
    `accumulation_steps` above 1. Parameters are split over a `mesh` that says so (`sharding`).
    Those that the patterns `frozen` match stay as they are (`frozen`).
    """
    gradient = make_gradient(model, task, mesh, frozen)

    def train_step(
        state: TrainState, totals: Metrics, inputs: Inputs
    ) -> tuple[TrainState, Metrics]:
        batch = assemble(inputs, state.step)
        params = gather(state.params, mesh)
        grads, batch_stats, metrics = accumulate(gradient, params, state, batch, accumulation_steps)
        state, metrics = apply_gradient(
            state, grads, batch_stats, metrics, optimizer, ema_decay, skip_nonfinite
        )
        return scatter(state, mesh), totals.merge(metrics)

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
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Metrics, Inputs, jax.Array], tuple[Metrics, Predictions]]:
    """Returns eval_step(state, totals, inputs, first_index) -> (totals, predictions).

    The totals have this batch's metrics added; the predictions are the task's of each example, its
    targets as "true_NAME", and its "weight". A program that returns the totals alone does not
    compute them.

    Args:
      model: from `models.build_model`.
      task: says what the model sees and what is counted.
      assemble: a pipeline's.
      weights: "last" or "ema".
      ema_decay: the average's.
      tta: "none", or the task's views of an example whose outputs are combined.
    """

    def eval_step(
        state: TrainState, totals: Metrics, inputs: Inputs, first_index: jax.Array
    ) -> tuple[Metrics, Predictions]:
        batch = assemble(inputs, first_index)
        pixels, batch = task.prepare(batch, state.norm, state.seed, train=False)
        tree = gather(variables(state, weights, ema_decay), mesh)
        keys = order_keys(model, batch, state.seed, train=False)
        output = apply_views(model, task, tree, pixels, tta, **keys)
        fields = task.fields(pixels.shape[1:])
        targets = [name for name, field in fields.items() if field.kind != "pixels"]
        predictions = {
            **task.predictions(output),
            **{f"true_{name}": batch[name] for name in targets},
            "weight": batch["weight_B"],
        }
        return totals.merge(task.loss(output, batch, train=False)[1]), predictions

    return eval_step


def apply_views(
    model: nn.Module, task: Task, tree: Tree, pixels: jax.Array, tta: str, **keys: Any
) -> Any:
    """Returns the model's output of prepared pixels, combined from the views that `tta` names.

    `keys`: what `order_keys` returns.
    """
    weights, views = zip(*task.views(pixels, tta), strict=True)
    outputs = [model.apply(tree, view, train=False, **keys) for view in views]
    return task.combine(outputs, weights, tta)
