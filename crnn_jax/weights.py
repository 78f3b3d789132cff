"""Weights of what was trained before, by the names of their arrays."""

import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from crnn_jax import pretrained
from crnn_jax.checkpoint import Checkpoints, metadata
from crnn_jax.checkpoint.folders import folder_of
from crnn_jax.checksums import DamagedError, named_leaves
from crnn_jax.config import flatten
from crnn_jax.data.dataset import with_absolute_paths
from crnn_jax.errors import UserError, closest
from crnn_jax.flags import RUN_WORKDIR
from crnn_jax.mesh import replicated
from crnn_jax.train.state import TrainState, variables
from crnn_jax.weight_files import read_weights
from crnn_jax.workdir import has_run, load_config, read_dataset

Arrays = dict[str, np.ndarray]  # "trunk/conv_0_0/kernel" -> array


class Weights(NamedTuple):
    """What a run learned.

    Attributes:
      params: by their names below "params".
      batch_stats: by their names below "batch_stats".
      metadata: "source", "step" (None for a file), "weights" ("last" or "ema"), "class_names",
        "input_shape" (None for a file), "model"
        (the model's keys and values), and "norm", the arrays "mean_C" and "std_C" by which the
        pixels are normalised that the weights know.
    """

    params: Arrays
    batch_stats: Arrays
    metadata: dict[str, Any]


def load_weights(source: str) -> Weights:
    """Returns the weights of a run's newest good checkpoint, those that it reports, or of a file.

    All processes of a run must call it.

    Args:
      source: the workdir of a run, a file of `weight_files`, of the suffix .safetensors, or the
        name of a model that comes with the package.

    Raises:
      UserError: no run or file there, no checkpoint, or damaged ones alone.
    """
    place = _find(source)
    return _of_run(place) if place.is_dir() else _of_file(place, source)


def _find(source: str) -> pathlib.Path:
    """Returns the folder of a run, or the file of weights."""
    folder, names = pathlib.Path(source).expanduser(), pretrained.names()
    if (folder / "config.json").is_file() or folder.suffix == ".safetensors":
        return folder
    if pretrained.is_name(source):
        return pretrained.find(source)
    kinds = ((folder.is_dir(), "a folder without it"), (folder.exists(), "a file"))
    found = next((kind for is_kind, kind in kinds if is_kind), "nothing there")
    raise UserError(
        "expected the workdir of a run, a folder with config.json, or a .safetensors file, or a "
        f"model of the package ({', '.join(names)}), found {found}: '{source}'"
        f"{closest(folder.name, names)}"
    )


class Sizes(NamedTuple):
    """What a model that takes the weights of another has to be like.

    Attributes:
      model: the keys of `config.model` with their values, "name" among them.
      precision: in which the model computes.
      input_shape: (H, W, C), or (F, H, W, C); None where a file does not say it.
    """

    model: dict[str, Any]
    precision: str
    input_shape: tuple[int, ...] | None


def sizes(source: str) -> Sizes:
    """Returns the sizes of what `load_weights` takes.

    A run that is resumed needs no more of it than its own workdir knows: the source may be gone.

    Raises:
      UserError: see `load_weights`.
    """
    try:
        place = _begun_with(source) or _find(source)
        if place.is_dir():
            config, facts = load_config(place), read_dataset(place)
            return Sizes(config.model.to_dict(), config.precision, tuple(facts["input_shape"]))
        content = read_weights(place)
    except UserError as error:
        raise UserError(f"config key 'init.from': {error}") from None
    shape = content.about.get("input_shape")
    return Sizes(content.model, "float32", tuple(shape) if shape else None)


def _begun_with(source: str) -> pathlib.Path | None:
    """Returns the workdir of the run that is resumed, if it began with `source`; else None."""
    folder = pathlib.Path(RUN_WORKDIR.get()).expanduser()
    if not (RUN_WORKDIR.get() and (folder / "config.json").exists() and has_run(folder)):
        return None
    stored = load_config(folder)
    named = ConfigDict(stored.to_dict())
    named.init["from"] = source
    is_same = with_absolute_paths(named).init["from"] == stored.init["from"]
    return folder if is_same else None


def _of_run(folder: pathlib.Path) -> Weights:
    config, facts = load_config(folder), read_dataset(folder)
    step, tree = _newest_state(folder / "checkpoints")
    state = TrainState(
        step=tree["step"],
        seed=tree["seed"],
        norm=tree["norm"],
        params=tree["params"],
        batch_stats=tree.get("batch_stats", {}),
        opt_state=None,
        ema=tree.get("ema"),
    )
    chosen = variables(state, config.eval.weights, config.optim.ema_decay)
    on_host = {name: np.asarray(leaf) for name, leaf in named_leaves(chosen).items()}
    model = {k: v for k, v in flatten(config).items() if k.startswith("model.")}
    return Weights(
        _below("params/", on_host),
        _below("batch_stats/", on_host),
        {
            "source": str(folder),
            "step": step,
            "weights": config.eval.weights,
            "class_names": tuple(facts["class_names"]),
            "input_shape": tuple(facts["input_shape"]),
            "model": model,
            "norm": {name: np.asarray(array) for name, array in state.norm.items()},
        },
    )


def _of_file(path: pathlib.Path, source: str) -> Weights:
    content = read_weights(path)
    return Weights(
        _below("params/", content.arrays),
        _below("batch_stats/", content.arrays),
        {
            "source": source,
            "step": None,
            "weights": "last",
            "class_names": content.class_names or ("classes without names",),
            "input_shape": None,
            "model": {f"model.{key}": value for key, value in content.model.items()},
            "norm": {
                "mean_C": np.asarray(content.mean, np.float32),
                "std_C": np.asarray(content.std, np.float32),
            },
        },
    )


def _newest_state(directory: pathlib.Path) -> tuple[int, dict[str, Any]]:
    """Returns (step, state as nested dicts) of the newest good checkpoint, whatever its model."""
    checkpoints = Checkpoints(directory, keep_latest=1, keep_best=False)  # never saves
    whole = replicated(Mesh(np.array(jax.devices()), ("data",)))
    for step in reversed(checkpoints.steps()):
        try:
            saved = metadata(folder_of(directory, step))["leaves"]
        except DamagedError:
            continue  # `restore` says so
        abstract = {
            name: jax.ShapeDtypeStruct(shape, dtype, sharding=whole)
            for name, (dtype, shape, _) in saved.items()
        }
        restored = checkpoints.restore(abstract)
        if restored is not None:
            return restored[0], _nested(restored[1])
    raise UserError(f"expected a good checkpoint in {directory}, found none")


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _nested(arrays: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array
    return tree
