"""What an exported file says of itself, as JSON."""

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

import crnn_jax
from crnn_jax.config import PLACEMENT_KEYS, config_of_flat, default_config, flatten, with_absent
from crnn_jax.data.sources import PATHS
from crnn_jax.errors import UserError
from crnn_jax.run import Run

FORMAT = 1  # the metadata's


def describe(run: Run) -> dict[str, Any]:
    """Returns what a user of the file has to know, and all that is needed to open it again.

    Args:
      run: in float32, as it is exported.
    """
    norm = run.state.norm
    defaults = flatten(default_config(run.config.model.name))
    # Where the run's data lay, and on what devices it ran, does not go with the file.
    placed = {name: defaults[name] for name in PLACEMENT_KEYS if name in defaults}
    config = {**flatten(run.config), **placed}
    config["data.source"] = source_name(config["data.source"])
    config["init.from"] = pathlib.PurePath(config["init.from"]).name
    return {
        "crnn_jax_format": FORMAT,
        "crnn_jax_version": crnn_jax.__version__,
        "task": run.config.task,
        "model": run.config.model.name,
        "input": run.task.pixels,
        "input_shape": list(run.input_shape),
        "input_dtype": "uint8",
        "bit_depth": run.config.data.bit_depth,  # that 16-bit samples use; 0: all
        "class_names": list(run.class_names),
        "mean": [float(x) for x in norm["mean_C"]],
        "std": [float(x) for x in norm["std_C"]],
        "step": int(run.state.step),
        "num_train": run.experiment.num_train,
        "trained_on": run.trained_on,
        "weights": run.config.eval.weights,
        "config": config,
    }


def source_name(source: str) -> str:
    """Returns "folder:photos" of "folder:/home/me/photos": what the data is called, not where."""
    kind, _, location = source.partition(":")
    return f"{kind}:{pathlib.PurePath(location).name}" if kind in PATHS else source


def to_strings(metadata: dict[str, Any]) -> dict[str, str]:
    """Returns the metadata for formats that keep strings alone; each value is JSON."""
    return {name: to_json(value) for name, value in metadata.items()}


def to_json(value: Any, indent: int | None = None) -> str:
    """Returns JSON in UTF-8; all as escapes where a name is not in it, as a folder's may be."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def of_strings(path: Any, strings: dict[str, str] | None) -> dict[str, Any]:
    """Returns the metadata of the strings in a file.

    Raises:
      UserError: they are not what `to_strings` returns.
    """
    try:
        found = {name: json.loads(value) for name, value in (strings or {}).items()}
    except (ValueError, RecursionError):
        found = {}
    return check(path, found)


def check(path: Any, metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns the metadata of a file.

    Raises:
      UserError: the file is none that was exported, or of a version that is not known here.
    """
    if (found := metadata.get("crnn_jax_format")) == FORMAT:
        return metadata
    reason = "found another" if found is None else f"of format {FORMAT}, found format {found}"
    raise UserError(f"'{path}' is expected to be a file of crnn_jax.export, {reason}")


def config_of(path: Any, metadata: dict[str, Any]) -> ConfigDict:
    """Returns the config of the training, for one device; it knows no place of data.

    Raises:
      UserError: it is not valid.
    """
    try:
        config = config_of_flat(with_absent(metadata["config"]))
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
    config.mesh.update(data=1, fsdp=1, model=1)
    return config
