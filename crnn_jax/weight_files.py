"""Files of a model's weights: safetensors with our names, and what has to be known to use them.

An array is called by its path in the model's variables, such as "params/head/dense/kernel" or
"batch_stats/trunk/norm_0_0/mean", and is float32. The file's metadata are texts by name: `format`,
"crnn_jax 1", and as JSON

    model        the keys of `config.model` with their values, "name" among them
    num_classes  K
    class_names  K texts in the order of the classes, or null where nobody said them
    mean, std    of each channel, in 0..255: the model reads (pixels - mean) / std
    about        other facts by name, which no model needs: where the weights are from, say

and `crc32`, of all these and the arrays; a file of an older version has none.
"""

import dataclasses
import json
import os
import pathlib
import tempfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from crnn_jax.errors import UserError

FORMAT = "crnn_jax 1"


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """The content of a file.

    Attributes:
      arrays: by the path in the model's variables, float32.
      model: the keys of `config.model` with their values.
      num_classes: K.
      class_names: K texts, or None.
      mean: each channel's, in 0..255.
      std: likewise.
      about: facts that no model needs, as JSON has them.
    """

    arrays: dict[str, np.ndarray]
    model: dict[str, Any]
    num_classes: int
    class_names: tuple[str, ...] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    about: dict[str, Any] = dataclasses.field(default_factory=dict)


_FACTS = [field.name for field in dataclasses.fields(WeightFile) if field.name != "arrays"]


def flat_arrays(variables: Any) -> dict[str, np.ndarray]:
    """Returns {"params/head/dense/kernel": array, ...} of a model's {"params", "batch_stats"}."""
    from flax.traverse_util import flatten_dict

    flat = flatten_dict(variables, sep="/")
    return {name: np.asarray(array, np.float32) for name, array in flat.items()}


def nested_arrays(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns the model's variables of what `flat_arrays` gave; "batch_stats" may be missing."""
    from flax.traverse_util import unflatten_dict

    return unflatten_dict(arrays, sep="/")


def write_weights(path: str | pathlib.Path, content: WeightFile) -> None:
    """Writes the file, whole or not at all; its folder is made.

    Raises:
      UserError: it cannot be written.
    """
    from safetensors.numpy import save_file

    path = pathlib.Path(path).expanduser()
    arrays = {
        name: np.ascontiguousarray(array, np.float32) for name, array in content.arrays.items()
    }
    facts = dataclasses.asdict(dataclasses.replace(content, arrays={}))
    metadata = {name: json.dumps(facts[name]) for name in _FACTS} | {"format": FORMAT}
    metadata["crc32"] = _checksum(arrays, metadata)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            temporary = pathlib.Path(folder) / path.name
            save_file(arrays, temporary, metadata)
            os.replace(temporary, path)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UserError(f"'{path}' cannot be written ({reason}): choose another path") from error


def read_weights(path: str | pathlib.Path) -> WeightFile:
    """Returns the content of a file that `write_weights` wrote.

    Raises:
      UserError: no such file, another kind of file, or a damaged one.
    """
    arrays, metadata = read_arrays(path)
    if metadata.get("format") != FORMAT or not metadata.keys() >= set(_FACTS):
        raise UserError(
            f"expected a weight file of this project ('{FORMAT}'), found another format in "
            f"'{path}': weights of timm are read by python -m crnn_jax.convert timm"
        )
    if metadata.get("crc32") not in (None, _checksum(arrays, metadata)):
        raise UserError(
            f"'{path}' is damaged, its checksum differs: copy it again, or make it anew"
        )
    try:  # older files have no checksum
        facts = {name: json.loads(metadata[name]) for name in _FACTS}
        for name in ("class_names", "mean", "std"):
            facts[name] = _tuple(facts[name])
        facts["model"] = {key: _tuple(value) for key, value in facts["model"].items()}
    except (ValueError, AttributeError, RecursionError):
        raise UserError(f"'{path}' is damaged: copy it again, or make it anew") from None
    return WeightFile(arrays, **facts)


def _checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    total = 0
    for name in _FACTS:
        total = zlib.crc32(f"{name} {metadata[name]}".encode(), total)
    for name in sorted(arrays):
        total = zlib.crc32(f"{name} {arrays[name].shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), total)
    return f"{total:08x}"


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def read_arrays(path: str | pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns (float32 arrays by name, metadata) of any safetensors file.

    Raises:
      UserError: no such file, or it is damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    path = pathlib.Path(path).expanduser()
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: np.asarray(file.get_tensor(name), np.float32) for name in file.keys()}  # noqa: SIM118
            return arrays, file.metadata() or {}
    except FileNotFoundError:
        raise UserError(f"expected a file '{path}', found none: check the path") from None
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"expected a safetensors file, found '{path}' ({reason})") from error
