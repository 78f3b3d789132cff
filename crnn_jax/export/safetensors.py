"""The weights of a run by their paths, as safetensors; preprocessing and model are its config."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from crnn_jax.errors import UserError
from crnn_jax.export.metadata import config_of, of_strings, to_strings
from crnn_jax.run import Run
from crnn_jax.train.experiment import build
from crnn_jax.train.state import TrainState


def make(run: Run) -> dict[str, np.ndarray]:
    """Returns the arrays: "params/...", "batch_stats/..." as in the model, and "norm/..."."""
    tree = {**run.weights, "norm": run.state.norm}
    flat = traverse_util.flatten_dict(jax.device_get(tree), sep="/")
    return {path: np.ascontiguousarray(array) for path, array in flat.items()}


def save(content: dict[str, np.ndarray], path: pathlib.Path, metadata: dict[str, Any]) -> None:
    """Writes the file."""
    save_file(content, path, metadata=to_strings(metadata))


def load(path: pathlib.Path) -> Run:
    """Returns the run of the file; it has no optimizer's state.

    Raises:
      UserError: it is no such file, or lacks an array of its model or has one of another shape.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = of_strings(path, file.metadata())
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"'{path}' is expected to be a file of crnn_jax.export, found: {error}"
        ) from None
    config, names = config_of(path, metadata), tuple(metadata["class_names"])
    # The file holds one set of weights: those that the run reported.
    config.eval.weights = "last"
    experiment = build(config, metadata["input_shape"], len(names), metadata["num_train"])
    abstract = experiment.abstract_state()
    expected = {
        "params": abstract.params,
        "batch_stats": abstract.batch_stats,
        "norm": abstract.norm,
    }
    tree = _checked(path, arrays, traverse_util.flatten_dict(expected, sep="/"))
    state = TrainState(
        step=jnp.int32(metadata["step"]),
        seed=jnp.uint32(config.seed),
        norm=tree["norm"],
        params=tree["params"],
        batch_stats=tree.get("batch_stats", {}),
        opt_state=(),
        ema=None,
    )
    return Run(path, experiment, state, names)


def _checked(path: Any, arrays: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Returns the arrays as the tree that is expected."""
    for name in sorted(expected.keys() | arrays.keys()):
        found = arrays[name].shape if name in arrays else "none"
        shape = expected[name].shape if name in expected else "none"
        if found != shape:
            raise UserError(f"'{path}' is expected to have '{name}' of {shape}, found {found}")
    return traverse_util.unflatten_dict(
        {tuple(name.split("/")): array for name, array in arrays.items()}
    )
