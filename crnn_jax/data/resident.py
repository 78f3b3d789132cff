"""The pipeline for splits that fit into device memory: a batch is a gather inside jit."""

import itertools
import math
import os
import pathlib
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from crnn_jax import mesh as mesh_lib
from crnn_jax.data import cache, order
from crnn_jax.data.fields import Fields
from crnn_jax.data.pipeline import Batch, Inputs, Pipeline
from crnn_jax.data.splits import Split
from crnn_jax.errors import UserError


class ResidentPipeline(Pipeline):
    """Keeps the decoded split on every device; the host does nothing per step.

    See `dataset.make_pipeline` for the arguments.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        mesh: Mesh,
        cache_dir: pathlib.Path,
        skip_corrupt: bool,
        fingerprint: str,
        groups: order.Groups | None = None,
    ):
        super().__init__(split.num_examples, batch_size, mesh)
        _check_memory(split.num_examples * _bytes(split.fields), split.name, mesh)
        examples = cache.decoded(
            split, cache_dir=cache_dir, fingerprint=fingerprint, skip_corrupt=skip_corrupt
        )
        arrays = {
            "fields": examples.fields,
            # An argument of the jitted step, so that another seed is not another program.
            "seed": np.uint32(seed & 0xFFFFFFFF),
            "weight_N": examples.weight_N,
        }
        if groups is not None:
            arrays["groups"] = groups
        self._inputs: dict[str, Any] = mesh_lib.place(arrays, mesh_lib.replicated(mesh))

    def train_inputs(self, start_step: int) -> Generator[Inputs]:
        """Returns an endless iterator of the same device arrays."""
        mesh_lib.check_batch(self.batch_size, self.mesh)
        return (inputs for inputs in itertools.repeat(self._inputs))

    def assemble(self, inputs: Inputs, step: jax.Array) -> Batch:
        """Returns the batch at positions step * B + (0..B-1) of the training order."""
        position_B = self._shard(order.positions(step, self.batch_size))
        if "groups" in inputs:
            epoch_B, example_B = order.balanced_at(position_B, inputs["groups"], inputs["seed"])
        else:
            epoch_B, example_B = order.example_at(position_B, self.num_examples, inputs["seed"])
        return self._gather(inputs, epoch_B, example_B, inputs["weight_N"][example_B])

    def eval_inputs(self) -> Generator[tuple[Inputs, jax.Array]]:
        """Returns an iterator of the same arrays with each batch's first index."""
        sharding = mesh_lib.replicated(self.mesh)
        for batch in range(self.num_eval_batches):
            yield self._inputs, mesh_lib.place(np.uint32(batch * self.eval_batch_size), sharding)

    def eval_assemble(self, inputs: Inputs, first_index: jax.Array) -> Batch:
        """Returns the examples from `first_index` on, padded."""
        index_B = jnp.arange(self.eval_batch_size, dtype=jnp.int32) + first_index.astype(jnp.int32)
        index_B = self._shard(index_B)
        valid_B = index_B < self.num_examples
        row_B = jnp.minimum(index_B, self.num_examples - 1)
        batch = self._gather(inputs, jnp.zeros_like(index_B), row_B, inputs["weight_N"][row_B])
        masked = {
            name: jnp.where(valid_B.reshape(-1, *[1] * (batch[name].ndim - 1)), batch[name], 0)
            for name in (*inputs["fields"], "weight_B")
        }
        return self._shard({**batch, **masked, "example_B": index_B})

    def _gather(
        self, inputs: Inputs, epoch_B: jax.Array, example_B: jax.Array, weight_B: jax.Array
    ) -> Batch:
        fields = {name: array[example_B] for name, array in inputs["fields"].items()}
        own = {"weight_B": weight_B, "epoch_B": epoch_B, "example_B": example_B}
        return self._shard({**fields, **own})

    def _shard(self, tree: Any) -> Any:
        return jax.lax.with_sharding_constraint(tree, mesh_lib.batch_sharding(self.mesh))


def _bytes(fields: Fields) -> int:
    return sum(math.prod(f.shape) * np.dtype(f.dtype).itemsize for f in fields.values())


def _check_memory(num_bytes: int, name: str, mesh: Mesh) -> None:
    """Refuses a split that would fill the memory before hours of decoding show it."""
    local = mesh.local_devices
    limit = (local[0].memory_stats() or {}).get("bytes_limit")
    if limit is None:  # a CPU's devices share the host's memory, and the host holds a copy
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (len(local) + 1)
    if num_bytes > 0.8 * limit:
        raise UserError(
            f"split '{name}' expects {num_bytes / 2**30:.1f} GiB on each device, found "
            f"{limit / 2**30:.1f} GiB; set 'data.pipeline' to 'streaming'"
        )
