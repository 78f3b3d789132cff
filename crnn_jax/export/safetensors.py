"""The weights of a run as a file of `weight_files`; preprocessing and model are its config."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.config import flatten
from crnn_jax.errors import UserError
from crnn_jax.export.metadata import check, config_of
from crnn_jax.run import Run
from crnn_jax.train.experiment import build
from crnn_jax.train.state import TrainState
from crnn_jax.weight_files import (
    WeightFile,
    flat_arrays,
    nested_arrays,
    read_weights,
    write_weights,
)


def make(run: Run) -> WeightFile:
    """Returns the weights that the run reports, which `init.from` reads too."""
    model = flatten(run.config.model)
    norm = jax.device_get(run.state.norm)
    return WeightFile(
        arrays=flat_arrays(jax.device_get(run.weights)),
        model=model,
        num_classes=len(run.class_names),
        class_names=run.class_names,
        mean=tuple(map(float, norm["mean_C"])),
        std=tuple(map(float, norm["std_C"])),
    )


def save(content: WeightFile, path: pathlib.Path, metadata: dict[str, Any]) -> None:
    """Writes the file, with the metadata as its "about"."""
    content.about.clear()
    content.about.update(metadata)
    write_weights(path, content)


def load(path: pathlib.Path) -> Run:
    """Returns the run of the file; it has no optimizer's state.

    Raises:
      UserError: it is no such file, or lacks an array of its model or has one of another shape.
    """
    content = read_weights(path)
    if "crnn_jax_format" not in content.about:
        raise UserError(
            f"'{path}' is expected to be a file of crnn_jax.export, found weights alone, as "
            f"crnn_jax.convert writes them: train from them by config key 'init.from', as with "
            f"--config=configs/finetune.py:{content.model['name']},init.from={path}"
        )
    metadata = check(path, content.about)
    config, names = config_of(path, metadata), tuple(metadata["class_names"])
    # The file holds one set of weights: those that the run reported.
    config.eval.weights = "last"
    experiment = build(config, metadata["input_shape"], len(names), metadata["num_train"])
    abstract = experiment.abstract_state()
    expected = {"params": abstract.params, "batch_stats": abstract.batch_stats}
    _check_arrays(path, content.arrays, expected)
    tree = nested_arrays(content.arrays)
    state = TrainState(
        step=jnp.int32(metadata["step"]),
        seed=jnp.uint32(config.seed),
        norm={
            "mean_C": np.asarray(content.mean, np.float32),
            "std_C": np.asarray(content.std, np.float32),
        },
        params=tree["params"],
        batch_stats=tree.get("batch_stats", {}),
        opt_state=(),
        ema=None,
    )
    return Run(path, experiment, state, names, metadata["trained_on"])


def _check_arrays(path: Any, arrays: dict[str, np.ndarray], expected: Any) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(expected)
    shapes = {
        jax.tree_util.keystr(place, simple=True, separator="/"): leaf.shape
        for place, leaf in leaves
    }
    for name in sorted(shapes.keys() | arrays.keys()):
        found = arrays[name].shape if name in arrays else "none"
        shape = shapes.get(name, "none")
        if found != shape:
            raise UserError(f"'{path}' is expected to have '{name}' of {shape}, found {found}")
