"""A training step with equal bits on any number of devices of one kind, at a price.

The usual step is one program whose sums run over the devices: another number of devices is another
order of additions, and other bits. Here a batch is cut into `logical_shards` parts whatever the
devices, and every floating-point operation happens in a program for one device, which is the same
on any topology (even a program without a collective is compiled otherwise for many devices):

1. `cut` gives each device its shards' examples: bytes are moved, nothing is computed.
2. `shard_gradient` computes one shard's gradient, and is called once for each.
3. `collect` copies all shards' gradients to every device.
4. `update` adds them in the order of the shards and takes the optimizer's step, on every device.

BatchNorm sees a shard; its running statistics move by the mean over the shards. The price: a device
has less to do in each call, the optimizer's step and its additions are done on every device, each
holds all shards' gradients for a moment, and programs are compiled for each local device.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from crnn_jax.errors import UserError
from crnn_jax.mesh import batch_sharding, replicated
from crnn_jax.tasks import Task
from crnn_jax.tasks.sums import Sums as Metrics
from crnn_jax.train.state import TrainState, step_rngs
from crnn_jax.train.step import Assemble, Inputs, apply_gradient, make_gradient, stats_change

Tree = Any

# What else decides bits: threads that share a sum, and algorithms chosen by a stopwatch.
_OPTIONS: dict[str, dict[str, Any]] = {
    "cpu": {"xla_cpu_multi_thread_eigen": False},
    "gpu": {"xla_gpu_deterministic_ops": True, "xla_gpu_autotune_level": 0},
}


@dataclasses.dataclass(frozen=True)
class ReproducibleStep:
    """train_step(state, totals, inputs) -> (state, totals), in four programs."""

    cut: Callable[[Inputs, jax.Array], tuple[Tree, ...]]
    shard_gradient: Callable[[TrainState, Tree, jax.Array], Tree]
    collect: Callable[[tuple[Tree, ...]], Tree]
    update: Callable[[TrainState, Metrics, Tree], tuple[TrainState, Metrics]]
    mesh: Mesh
    shard_index: tuple[jax.Array, ...]  # for each round, which shard each device has

    def __call__(
        self, state: TrainState, totals: Metrics, inputs: Inputs
    ) -> tuple[TrainState, Metrics]:
        """Returns the state after the step, and the totals with its metrics."""
        read = self._on_each(dataclasses.replace(state, opt_state=None, ema=None))
        found = []
        for part, index in zip(self.cut(inputs, state.step), self.shard_index, strict=True):
            arguments = zip(read, self._on_each(part), self._on_each(index), strict=True)
            found.append(self._join([self.shard_gradient(*each) for each in arguments], "data"))
        everything = (state, totals, self.collect(tuple(found)))
        return self._join([self.update(*each) for each in self._on_each(everything)], None)

    def _on_each(self, tree: Tree) -> list[Tree]:
        """Returns what each local device holds of the global arrays, as arrays of its own."""
        leaves, structure = jax.tree.flatten(tree)
        held = [{shard.device: shard.data for shard in leaf.addressable_shards} for leaf in leaves]
        devices = [device for device in self.mesh.devices.flat if device in held[0]]
        return [structure.unflatten([of[device] for of in held]) for device in devices]

    def _join(self, trees: list[Tree], axis: str | None) -> Tree:
        """Returns global arrays of what each holds: parts of the first axis, or equal copies."""
        sharding = NamedSharding(self.mesh, PartitionSpec(axis) if axis else PartitionSpec())
        parts = self.mesh.shape[axis] if axis else 1

        def of_leaves(*leaves: jax.Array) -> jax.Array:
            shape = leaves[0].shape
            shape = (parts * shape[0], *shape[1:]) if axis else shape
            return jax.make_array_from_single_device_arrays(shape, sharding, list(leaves))

        return jax.tree.map(of_leaves, *trees)


def make_reproducible_step(
    model: nn.Module,
    task: Task,
    optimizer: optax.GradientTransformation,
    assemble: Assemble,
    *,
    ema_decay: float,
    skip_nonfinite: int = 0,
    mesh: Mesh,
    logical_shards: int,
    frozen: Sequence[str] = (),
) -> ReproducibleStep:
    """Returns the step; its programs are compiled when they are first called.

    Raises:
      UserError: the devices do not divide the number of shards.
    """
    devices = mesh.shape["data"]
    rounds = _num_rounds(logical_shards, devices)
    gradient = make_gradient(model, task, None, frozen)
    settings = {"optimizer": optimizer, "ema_decay": ema_decay, "skip_nonfinite": skip_nonfinite}
    apply = functools.partial(apply_gradient, **settings)

    def cut(inputs: Inputs, step: jax.Array) -> tuple[Tree, ...]:
        return _rounds_of(assemble(inputs, step), devices, rounds)

    def shard_gradient(state: TrainState, batch: Tree, shard: jax.Array) -> Tree:
        rngs = {name: jax.random.fold_in(key, shard[0]) for name, key in step_rngs(state).items()}
        weight = jnp.sum(batch["weight_B"])
        grads, batch_stats, metrics = gradient(state.params, state, batch, rngs, weight)
        found = (grads, stats_change(state, batch_stats, logical_shards), metrics, weight)
        return jax.tree.map(lambda x: x[None], found)

    def update(state: TrainState, totals: Metrics, found: Tree) -> tuple[TrainState, Metrics]:
        def add_in_order(of_shards: jax.Array) -> jax.Array:
            return functools.reduce(jnp.add, [of_shards[i] for i in range(logical_shards)])

        grads, change, metrics, weight = jax.tree.map(add_in_order, found)
        grads = jax.tree.map(lambda x: x / jnp.maximum(weight, 1e-12), grads)
        batch_stats = jax.tree.map(jnp.add, state.batch_stats, change)
        state, metrics = apply(state, grads, batch_stats, metrics)
        return state, totals.merge(metrics)

    def number() -> tuple[jax.Array, ...]:
        return tuple(jnp.arange(devices, dtype=jnp.int32) * rounds + r for r in range(rounds))

    on_one_device = functools.partial(
        jax.jit, compiler_options=_OPTIONS.get(mesh.devices.flat[0].platform)
    )
    return ReproducibleStep(
        cut=jax.jit(cut, out_shardings=batch_sharding(mesh)),
        shard_gradient=on_one_device(shard_gradient),
        collect=jax.jit(_in_order, out_shardings=replicated(mesh)),
        update=on_one_device(update),
        mesh=mesh,
        shard_index=jax.jit(number, out_shardings=batch_sharding(mesh))(),
    )


def _num_rounds(logical_shards: int, devices: int) -> int:
    if logical_shards % devices != 0:
        raise UserError(
            f"config key 'logical_shards' expects a multiple of the {devices} devices of "
            f"'mesh.data', found {logical_shards}"
        )
    return logical_shards // devices


def _rounds_of(batch: Tree, devices: int, rounds: int) -> tuple[Tree, ...]:
    """Returns for each round the rows of one shard a device, device after device."""

    def of_round(array: jax.Array, index: int) -> jax.Array:
        rows = array.reshape(devices, rounds, -1, *array.shape[1:])[:, index]
        return rows.reshape(-1, *array.shape[1:])

    return tuple(jax.tree.map(lambda x, r=r: of_round(x, r), batch) for r in range(rounds))


def _in_order(found: tuple[Tree, ...]) -> Tree:
    """Returns what each shard found, stacked in the order of the shards."""

    def stack(*of_rounds: jax.Array) -> jax.Array:
        stacked = jnp.stack(of_rounds, axis=1)  # (device, round, ...)
        return stacked.reshape(-1, *stacked.shape[2:])

    return jax.tree.map(stack, *found)
