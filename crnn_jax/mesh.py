"""The device mesh and the shardings of what lies on it; the same for 1 device or many hosts."""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from crnn_jax.errors import UserError


def make_mesh(data: int = -1) -> Mesh:
    """Returns a mesh with the one axis "data" over `data` devices; -1 takes all.

    Devices are ordered by process, so that process p holds the contiguous p-th block of a batch.

    Raises:
      UserError: `data` is neither -1 nor a divisor of the number of devices (with several
        processes: the number itself, since every process must hold a part).
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if data != -1 and (data < 1 or len(devices) % data != 0):
        raise UserError(
            f"config key 'mesh.data' expects -1 (all) or a divisor of the number of devices "
            f"({len(devices)} {devices[0].platform}), found {data}"
        )
    if jax.process_count() > 1 and data not in (-1, len(devices)):
        raise UserError(
            f"config key 'mesh.data' expects -1 or all {len(devices)} devices of the "
            f"{jax.process_count()} processes, found {data}"
        )
    # Auto on purpose: jax.make_mesh's newer default, Explicit, rejects linen's gradients.
    count = len(devices) if data == -1 else data
    return Mesh(np.array(devices[:count]), ("data",), axis_types=(AxisType.Auto,))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that splits the first axis over the data axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that gives every device the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch(batch_size: int, mesh: Mesh, key: str = "batch_size") -> None:
    """Checks that the data axis divides the batch.

    Raises:
      UserError: it does not; names the config key, and the nearest batch sizes that work.
    """
    count = mesh.shape["data"]
    if batch_size < 1 or batch_size % count != 0:
        below = batch_size // count * count
        nearest = f"{below} or {below + count}" if below > 0 else f"{count}"
        raise UserError(
            f"config key '{key}' expects a multiple of the {count} devices of the data axis "
            f"(such as {nearest}), found {batch_size}"
        )


def padded_batch(batch_size: int, mesh: Mesh) -> int:
    """Returns the smallest multiple of the data axis that is at least `batch_size`."""
    return math.ceil(batch_size / mesh.shape["data"]) * mesh.shape["data"]


def process_rows(batch_size: int) -> slice:
    """Returns the rows of a global batch that this process reads: the contiguous p-th block."""
    rows = batch_size // jax.process_count()
    return slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)


def place(local: Any, sharding: NamedSharding) -> Any:
    """Returns global device arrays made of this process's part of each leaf.

    Args:
      local: a pytree of numpy arrays; this process's rows for `batch_sharding`, the whole value,
        equal in all processes, for `replicated`.
      sharding: one sharding for every leaf.
    """
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), local
    )
