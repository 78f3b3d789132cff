"""The formats of exported files, and the file that is loaded again."""

import dataclasses
import importlib
import importlib.util
import pathlib
from typing import Any, Protocol

import numpy as np
from ml_collections import ConfigDict

from crnn_jax.errors import UserError
from crnn_jax.export.metadata import config_of
from crnn_jax.predictor import Predictor, check_finite, in_batches
from crnn_jax.run import Run
from crnn_jax.tasks import Task, make_task
from crnn_jax.tasks.task import Predictions


class Format(Protocol):
    """A module of this package, one a format."""

    def make(self, run: Run) -> Any:
        """Returns the content of a file without its metadata.

        Raises:
          UserError: the format cannot hold such a run.
        """
        ...

    def save(self, content: Any, path: pathlib.Path, metadata: dict[str, Any]) -> None:
        """Writes the file."""
        ...

    def load(self, path: pathlib.Path) -> Predictor:
        """Returns the file for use.

        Raises:
          UserError: it is none that `save` wrote.
        """
        ...


# Format, also the end of its files' names: (module, what it needs of the extra "export").
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "safetensors": ("safetensors", ()),
    "stablehlo": ("stablehlo", ()),
    "onnx": ("onnx", ("onnx", "onnxruntime")),
}


def format_of(name: str) -> Any:
    """Returns the `Format` of a name.

    Raises:
      UserError: a package that it needs is not installed.
    """
    module, packages = FORMATS[name]
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(
            f"format '{name}' expects {' and '.join(missing)}, found no such package: "
            'pip install -e ".[export]"'
        )
    return importlib.import_module(f"crnn_jax.export.{module}")


def load_file(path: pathlib.Path) -> Predictor:
    """Returns an exported file for use; its name ends with its format.

    Raises:
      UserError: no such format, or not such a file.
    """
    name = path.suffix.removeprefix(".")
    if name not in FORMATS:
        ends = ", ".join(f".{known}" for known in FORMATS)
        raise UserError(f"an exported file is expected to end with one of {ends}, found '{path}'")
    return format_of(name).load(path)


class Program(Protocol):
    """What a file computes."""

    def __call__(self, pixels: np.ndarray) -> Predictions:
        """Returns the predictions for uint8 pixels (B, ...)."""
        ...


@dataclasses.dataclass(frozen=True)
class Exported(Predictor):
    """A program in a file.

    Attributes:
      path: where the file is.
      metadata: the file's; `metadata["certificate"]` says how near it is to the original.
      program: what it computes.
      class_names: K names that it was trained on.
      trained_on: what dataset.json says of the data.
    """

    path: pathlib.Path
    metadata: dict[str, Any]
    program: Program
    class_names: tuple[str, ...]
    trained_on: dict[str, Any]
    _config: ConfigDict = dataclasses.field(repr=False)

    @property
    def config(self) -> ConfigDict:
        """The config of the training."""
        return self._config

    @property
    def task(self) -> Task:
        """What it was trained for."""
        return make_task(self._config, len(self.class_names))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(H, W, C) of the images that it reads, (F, H, W, C) of clips."""
        return tuple(self.metadata["input_shape"])

    @property
    def described(self) -> str:
        """What an error calls it."""
        return f"file '{self.path}'"

    def apply(self, pixels: np.ndarray) -> Predictions:
        """Returns the task's predictions, numpy arrays (B, ...) by name.

        Args:
          pixels: uint8 (B, *input_shape), any B.

        Raises:
          UserError: a prediction is not finite.
        """
        found = in_batches(self.program, pixels)
        check_finite(
            found, self.described, "bring back a copy, or export an earlier checkpoint with --step"
        )
        return found


def open_program(path: pathlib.Path, metadata: dict[str, Any], program: Program) -> Exported:
    """Returns the program of a file for use.

    Raises:
      UserError: the config in the metadata is not valid.
    """
    names = tuple(metadata["class_names"])
    trained_on = metadata["trained_on"]
    return Exported(path, metadata, program, names, trained_on, config_of(path, metadata))
