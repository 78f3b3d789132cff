"""Which device holds which part of a parameter: the rules, and what they come to.

Rules, for any tree whose leaves are named as the model's (parameters, moments, averages):

1. A small array (`MIN_ELEMENTS`) or a vector is on every device: a collective costs its latency,
   however few bytes it moves.
2. "model" splits the input features of the kernels that are matrices: those of recurrent and dense
   layers, under whatever name. Each device then multiplies its slice and one sum over the axis
   completes the product; splitting the outputs instead would cut through the gates, which lie side
   by side there.
3. "fsdp" splits the longest axis left that it divides.

The step gathers what fsdp has split before it computes, and keeps its part of the gradient (ZeRO,
Rajbhandari et al. 2020): explicitly, since the compiler may otherwise split the activations.
"""

import math
import os
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from crnn_jax.errors import UserError

Tree = Any

MIN_ELEMENTS = 1024


def array_spec(name: str, shape: tuple[int, ...], mesh: Mesh, *, fsdp: bool) -> PartitionSpec:
    """Returns how the array `name` (such as "params/head/dense/kernel") is split.

    With `fsdp` False it is how the step computes with it: gathered over the axis fsdp.
    """
    axes: list[str | None] = [None] * len(shape)
    if len(shape) < 2 or math.prod(shape) < MIN_ELEMENTS:
        return PartitionSpec()
    model, parts = mesh.shape["model"], mesh.shape["fsdp"]
    is_matrix = len(shape) == 2 and name.rpartition("/")[2].startswith("kernel")
    if model > 1 and is_matrix and shape[-2] % model == 0:
        axes[-2] = "model"
    if fsdp and parts > 1:
        free = [i for i, axis in enumerate(axes) if axis is None and shape[i] % parts == 0]
        if free:
            axes[max(free, key=lambda i: (shape[i], i))] = "fsdp"
    return PartitionSpec(*axes) if any(axes) else PartitionSpec()


def tree_shardings(tree: Tree, mesh: Mesh, *, fsdp: bool = True) -> Tree:
    """Returns the tree of the leaves' shardings; leaves need a shape only."""

    def of_leaf(path: Any, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, array_spec(name, leaf.shape, mesh, fsdp=fsdp))

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def is_split(mesh: Mesh | None) -> bool:
    """Returns whether the rules split anything on this mesh."""
    return mesh is not None and mesh.shape["fsdp"] * mesh.shape["model"] > 1


def gather(tree: Tree, mesh: Mesh | None) -> Tree:
    """Returns the tree gathered over the axis fsdp, inside jit."""
    return _constrain(tree, mesh, fsdp=False)


def scatter(tree: Tree, mesh: Mesh | None) -> Tree:
    """Returns the tree split by the rules, inside jit."""
    return _constrain(tree, mesh, fsdp=True)


def _constrain(tree: Tree, mesh: Mesh | None, *, fsdp: bool) -> Tree:
    if mesh is None or not is_split(mesh):
        return tree
    return jax.lax.with_sharding_constraint(tree, tree_shardings(tree, mesh, fsdp=fsdp))


def device_bytes(tree: Tree) -> int:
    """Returns the bytes that one device holds of a tree of arrays or their shapes."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)


def check_room(tree: Tree, mesh: Mesh) -> None:
    """Checks that the devices of this process can hold a tree of abstract arrays.

    Raises:
      UserError: says how much they need and have.
    """
    needed, device = device_bytes(tree), mesh.local_mesh.devices.flat[0]
    if device.platform == "cpu":  # all of them share the host's memory
        needed *= mesh.local_mesh.size
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        room = (device.memory_stats() or {}).get("bytes_limit", needed)
    if needed > room:
        raise UserError(
            f"expected a model whose training state fits into {room / 1e9:.1f} GB, found one of "
            f"{needed / 1e9:,.1f} GB: lower the sizes in 'model', or split it ('mesh.fsdp')"
        )


def explain(tree: Tree) -> Iterator[str]:
    """Yields a line for each array, with its split and the bytes a device, and one of the sums.

    Args:
      tree: arrays or `jax.ShapeDtypeStruct`s with shardings.
    """
    total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        whole = math.prod(leaf.shape) * leaf.dtype.itemsize
        total += whole
        spec = getattr(leaf.sharding, "spec", PartitionSpec())
        how = ", ".join(map(str, spec)) if any(spec) else "on every device"
        shape = "x".join(map(str, leaf.shape)) or "scalar"
        yield f"{name}  {shape} {leaf.dtype}  {how}  {device_bytes(leaf):,} of {whole:,} B"
    yield f"in all {device_bytes(tree):,} of {total:,} B on each device"
