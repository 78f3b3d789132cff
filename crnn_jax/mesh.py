"""The device mesh and the shardings of what lies on it; the same for 1 device or many hosts."""

import contextlib
import contextvars
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from crnn_jax.errors import UserError

DATA_AXES = ("data", "fsdp")  # a batch is split over both
_TRACED_PARTS: contextvars.ContextVar[int] = contextvars.ContextVar("traced_parts", default=0)


def make_mesh(data: int = -1, fsdp: int = 1, model: int = 1) -> Mesh:
    """Returns the mesh with the axes "data", "fsdp" and "model", of sizes `data`, `fsdp`, `model`.

    A `data` of -1 takes all devices that the other axes leave. Devices are ordered by process and
    "model" varies fastest, so that process p holds the contiguous p-th block of a batch.

    Raises:
      UserError: the sizes do not divide the number of devices (with several processes: do not
        take all of them, since every process must hold a part), or "model" spans processes.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    found = f"({len(devices)} {devices[0].platform})"
    for key, size in (("mesh.fsdp", fsdp), ("mesh.model", model)):
        if size < 1 or len(devices) % (size if key == "mesh.fsdp" else fsdp * size) != 0:
            raise UserError(
                f"config key '{key}' expects a divisor of the number of devices {found}, and so "
                f"must 'mesh.fsdp' times 'mesh.model' be; found {size}"
            )
    rest = len(devices) // (fsdp * model)
    if data != -1 and (data < 1 or rest % data != 0):
        raise UserError(
            f"config key 'mesh.data' expects -1 (all) or a divisor of the number of devices "
            f"{found}{_left_by(fsdp * model)}, found {data}"
        )
    if (processes := jax.process_count()) > 1:
        if data not in (-1, rest):
            raise UserError(
                f"config key 'mesh.data' expects -1 or {rest}, which takes all {len(devices)} "
                f"devices of the {processes} processes, found {data}"
            )
        if jax.local_device_count() % model != 0:
            raise UserError(
                "config key 'mesh.model' expects a divisor of the devices of one process "
                f"({jax.local_device_count()}), found {model}"
            )
    shape = (rest if data == -1 else data, fsdp, model)
    # Auto on purpose: jax.make_mesh's newer default, Explicit, rejects linen's gradients.
    grid = np.array(devices[: math.prod(shape)]).reshape(shape)
    return Mesh(grid, (*DATA_AXES, "model"), axis_types=(AxisType.Auto,) * 3)


def _left_by(taken: int) -> str:
    return "" if taken == 1 else f" divided by the {taken} of 'mesh.fsdp' and 'mesh.model'"


def batch_parts(mesh: Mesh) -> int:
    """Returns how many parts a batch is split in: the sizes of the axes data and fsdp."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


@contextlib.contextmanager
def tracing_batch(parts: int) -> Iterator[None]:
    """Says, to what is traced in the block, how many parts the batch of a program is split in."""
    token = _TRACED_PARTS.set(parts)
    try:
        yield
    finally:
        _TRACED_PARTS.reset(token)


def traced_batch_parts() -> int:
    """Returns what `tracing_batch` said; where nobody said it, the number of local devices.

    For code whose loops over a batch must leave it split as it is.
    """
    return _TRACED_PARTS.get() or jax.local_device_count()


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that splits the first axis over the axes data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that gives every device the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch(batch_size: int, mesh: Mesh, key: str = "batch_size", steps: int = 1) -> None:
    """Checks that the devices divide each of `steps` equal parts of the batch.

    Raises:
      UserError: they do not; names the config key, and the nearest batch sizes that work.
    """
    count = batch_parts(mesh) * steps
    if batch_size < 1 or batch_size % count != 0:
        below = batch_size // count * count
        nearest = f"{below} or {below + count}" if below > 0 else f"{count}"
        times = f", times the {steps} of 'optim.accumulation_steps'" if steps > 1 else ""
        raise UserError(
            f"config key '{key}' expects a multiple of the {batch_parts(mesh)} devices that the "
            f"batch is split over{times} (such as {nearest}), found {batch_size}"
        )


def padded_batch(batch_size: int, mesh: Mesh) -> int:
    """Returns the smallest multiple of `batch_parts` that is at least `batch_size`."""
    return math.ceil(batch_size / batch_parts(mesh)) * batch_parts(mesh)


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
