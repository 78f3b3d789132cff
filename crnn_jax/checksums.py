"""What a checkpoint says of itself: names, dtypes, shapes and CRC-32 of its arrays."""

import json
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax import distributed
from crnn_jax.errors import NotFiniteError, UserError

Tree = Any


class DamagedError(Exception):
    """A checkpoint that cannot be read, or whose arrays are not those that were saved."""


class OtherStateError(UserError):
    """A checkpoint of other arrays than those that are asked for."""


def named_leaves(tree: Tree) -> dict[str, Any]:
    """Returns {"params/dense/kernel": leaf}: names do not depend on the types of the containers."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def checksum(array: jax.Array) -> str:
    """Returns the CRC-32 of the array's bytes as 8 hex digits; the same on every process."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        from jax.experimental import multihost_utils

        if array.is_fully_replicated:
            array = array.addressable_data(0)
        else:
            array = multihost_utils.process_allgather(array, tiled=True)
    # No reference to this copy outlives the line: one would keep the array from being donated.
    return f"{zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8)):08x}"


def seal(leaves: dict[str, Any], metrics: dict[str, float]) -> dict[str, Any]:
    """Returns the metadata of a checkpoint; a checksum over it guards the checksums in it.

    Args:
      leaves: as from `named_leaves`.
      metrics: finite numbers.
    """
    table = {k: [str(x.dtype), list(x.shape), checksum(x)] for k, x in leaves.items()}
    body = {"leaves": table, "metrics": {k: float(v) for k, v in metrics.items()}}
    return {"body": body, "checksum": _checksum_of_json(body)}


def unseal(sealed: dict[str, Any]) -> dict[str, Any]:
    """Returns {"leaves": {name: [dtype, shape, checksum]}, "metrics": {name: value}}.

    Raises:
      DamagedError: not what `seal` returned.
    """
    try:
        body = sealed["body"]
        good = sealed["checksum"] == _checksum_of_json(body)
    except (KeyError, TypeError) as error:
        raise DamagedError("its metadata has no checksum") from error
    if not good:
        raise DamagedError("the checksum of its metadata differs")
    return body


def check_arrays(leaves: dict[str, Any], saved: dict[str, Any]) -> None:
    """Checks the bytes of `leaves` against the "leaves" of `unseal`.

    Raises:
      DamagedError: names the first array that differs.
    """
    for name, leaf in leaves.items():
        if checksum(leaf) != saved[name][2]:
            raise DamagedError(f"the checksum of {name} differs")


def not_finite(leaves: dict[str, Any]) -> str | None:
    """Returns the name of the first leaf with NaN or inf in what this process has of it, or None.

    Args:
      leaves: as from `named_leaves`.
    """
    for name, leaf in leaves.items():
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not _finite(leaf):
            return name
    return None


def check_finite(leaves: dict[str, Any], step: int) -> None:
    """Checks a state, of which each process sees its own parts.

    Raises:
      NotFiniteError: names the first leaf with NaN or inf in it.
    """

    def check() -> None:
        if (name := not_finite(leaves)) is not None:
            raise FloatingPointError(name)

    try:
        distributed.together(check, FloatingPointError)
    except FloatingPointError as error:
        text = f"expected a finite state at step {step}, found NaN or inf in '{error}'"
        raise NotFiniteError(text, step) from None


def _finite(array: Any) -> bool:
    if not isinstance(array, jax.Array):
        return bool(np.isfinite(array).all())
    if array.is_fully_replicated:
        return bool(np.isfinite(np.asarray(array.addressable_data(0))).all())
    return all(np.isfinite(np.asarray(shard.data)).all() for shard in array.addressable_shards)


def check_step(leaves: dict[str, Any], step: int) -> None:
    """Checks that the leaf "step", where there is one, is the `step` that the folder is named by.

    Raises:
      DamagedError: it is another: a folder was copied or renamed.
    """
    if "step" in leaves and (found := int(np.asarray(leaves["step"]))) != step:
        raise DamagedError(f"it holds step {found} under the name {step}")


def check_structure(expected: dict[str, Any], saved: dict[str, Any], where: str) -> None:
    """Checks names, shapes and dtypes of `expected` against the "leaves" of `unseal`.

    Raises:
      OtherStateError: names up to three arrays that differ.
    """
    there = {name: f"{dtype}{shape}" for name, (dtype, shape, _) in saved.items()}
    here = {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in expected.items()}
    different = [
        f"{name} is {there.get(name, 'absent')} there and {here.get(name, 'absent')} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise OtherStateError(
            f"{where} was made by another config: {'; '.join(different[:3])}{more}. "
            "Use the config that made it, or another --workdir"
        )


def _checksum_of_json(value: Any) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())
