"""A training step with equal bits on any number of devices of one kind, at a price.

The usual step is one program whose sums run over the devices: another number of devices is another
order of additions, and other bits. Here a batch is cut into `logical_shards` parts whatever the
devices, and every floating-point operation happens in programs that are the same for all of them:

1. `cut` selects the examples of each shard: bytes are moved, nothing is computed.
2. `shard_gradient` computes one shard's gradient; it has no collective, and its shape depends on
   the shard alone. Each device calls it once for each of its shards.
3. `collect` copies all shards' gradients to every device.
4. `update` adds them in the order of the shards and takes the optimizer's step, on every device.

BatchNorm sees a shard; its running statistics move by the mean over the shards. A device holds all
the shards' gradients for a moment, and an accelerator has less to do in each call.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec

from crnn_jax.errors import UserError
from crnn_jax.mesh import batch_sharding, replicated
from crnn_jax.metrics import Classification as Metrics
from crnn_jax.tasks import Classification as Task
from crnn_jax.train.state import TrainState, step_rngs
from crnn_jax.train.step import Assemble, Inputs, apply_gradient, make_gradient

Tree = Any

# What else decides bits: threads that share a sum, and algorithms chosen by a stopwatch.
_OPTIONS: dict[str, dict[str, Any]] = {
    "cpu": {"xla_cpu_multi_thread_eigen": False},
    "gpu": {"xla_gpu_deterministic_ops": True, "xla_gpu_autotune_level": 0},
}


@dataclasses.dataclass(frozen=True)
class ReproducibleStep:
    """train_step(state, totals, inputs) -> (state, totals) in four programs; `state` is donated."""

    cut: Callable[[Inputs, jax.Array], tuple[Tree, ...]]
    shard_gradient: Callable[[TrainState, Tree, jax.Array], Tree]
    collect: Callable[[tuple[Tree, ...]], Tree]
    update: Callable[[TrainState, Metrics, Tree], tuple[TrainState, Metrics]]
    shard_index: tuple[jax.Array, ...]  # of each round, which shard each device has

    def __call__(
        self, state: TrainState, totals: Metrics, inputs: Inputs
    ) -> tuple[TrainState, Metrics]:
        """Returns the state after the step, and the totals with its metrics."""
        read = dataclasses.replace(state, opt_state=None, ema=None)
        parts = self.cut(inputs, state.step)
        found = [
            self.shard_gradient(read, part, index)
            for part, index in zip(parts, self.shard_index, strict=True)
        ]
        return self.update(state, totals, self.collect(tuple(found)))


def make_reproducible_step(
    model: nn.Module,
    task: Task,
    optimizer: optax.GradientTransformation,
    assemble: Assemble,
    *,
    ema_decay: float,
    mesh: Mesh,
    logical_shards: int,
) -> ReproducibleStep:
    """Returns the step; its programs are compiled when they are first called.

    Raises:
      UserError: the devices do not divide the number of shards.
    """
    devices = mesh.shape["data"]
    if logical_shards % devices != 0:
        raise UserError(
            f"config key 'logical_shards' expects a multiple of the {devices} devices of "
            f"'mesh.data', found {logical_shards}"
        )
    rounds = logical_shards // devices
    gradient = make_gradient(model, task, mesh)
    split, whole = PartitionSpec("data"), PartitionSpec()
    options = _OPTIONS.get(mesh.devices.flat[0].platform)
    on_each = functools.partial(jax.shard_map, mesh=mesh, check_vma=False)

    def cut(inputs: Inputs, step: jax.Array) -> tuple[Tree, ...]:
        def of_round(array: jax.Array, index: int) -> jax.Array:
            rows = array.reshape(devices, rounds, -1, *array.shape[1:])[:, index]
            return rows.reshape(-1, *array.shape[1:])

        batch = assemble(inputs, step)
        return tuple(jax.tree.map(lambda x, r=r: of_round(x, r), batch) for r in range(rounds))

    def shard_gradient(state: TrainState, batch: Tree, shard: jax.Array) -> Tree:
        rngs = {name: jax.random.fold_in(key, shard[0]) for name, key in step_rngs(state).items()}
        weight = jnp.sum(batch["weight_B"])
        found = (*gradient(state.params, state, batch, rngs, weight), weight)
        return jax.tree.map(lambda x: x[None], found)

    def collect(found: tuple[Tree, ...]) -> Tree:
        def in_order(*of_rounds: jax.Array) -> jax.Array:
            stacked = jnp.stack(of_rounds, axis=1)  # (device, round, ...): the order of the shards
            return stacked.reshape(logical_shards, *stacked.shape[2:])

        return jax.tree.map(in_order, *found)

    def update(state: TrainState, totals: Metrics, found: Tree) -> tuple[TrainState, Metrics]:
        def add_in_order(of_shards: jax.Array) -> jax.Array:
            return functools.reduce(jnp.add, [of_shards[i] for i in range(logical_shards)])

        grads, batch_stats, metrics, weight = jax.tree.map(add_in_order, found)
        grads = jax.tree.map(lambda x: x / jnp.maximum(weight, 1e-12), grads)
        batch_stats = jax.tree.map(lambda x: x / logical_shards, batch_stats)
        state = apply_gradient(state, grads, batch_stats, optimizer, ema_decay)
        return state, totals.merge(metrics)

    compile_ = functools.partial(jax.jit, compiler_options=options)
    number = jax.jit(
        lambda: tuple(jnp.arange(devices, dtype=jnp.int32) * rounds + r for r in range(rounds)),
        out_shardings=batch_sharding(mesh),
    )
    return ReproducibleStep(
        cut=jax.jit(cut, out_shardings=batch_sharding(mesh)),
        shard_gradient=compile_(
            on_each(shard_gradient, in_specs=(whole, split, split), out_specs=split)
        ),
        collect=jax.jit(collect, out_shardings=replicated(mesh)),
        update=compile_(on_each(update, in_specs=whole, out_specs=whole), donate_argnums=0),
        shard_index=number(),
    )
