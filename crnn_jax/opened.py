"""Opens what was trained: a run, an exported file, or a model that comes with the package."""

import argparse
import os
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from crnn_jax import pretrained
from crnn_jax.config import MODEL_DEFAULTS, override
from crnn_jax.errors import UserError, closest

if TYPE_CHECKING:  # what imports JAX waits for the flags to be right
    from crnn_jax.predictor import Predictor


def load(path: str | pathlib.Path, *, step: int | None = None) -> "Predictor":
    """Returns what was trained, ready to be asked: `predict`, `probabilities`, `features`.

    Args:
      path: a workdir of a run, a file of `python -m crnn_jax.export`, or the name of a model that
        comes with the package, where no such path is.
      step: which of a run's checkpoints; None: the newest good one.

    Raises:
      UserError: no run, exported file or model there, no such checkpoint, or a damaged one.
    """
    from crnn_jax.export.formats import load_file
    from crnn_jax.run import open_run

    if not isinstance(path, (str, os.PathLike)) or not str(path):
        found = "an empty text" if path == "" else type(path).__name__
        raise UserError(f"expected a path, or the name of a model of the package, found {found}")
    place = pathlib.Path(path).expanduser()
    if not place.exists() and str(path) in pretrained.names():
        place = pretrained.find(str(path))
    if not place.exists():
        names = pretrained.names()
        expected = f"expected a workdir of a run or an exported file or one of {', '.join(names)}"
        if str(path) in MODEL_DEFAULTS:
            raise UserError(
                f"{expected}, found '{path}', a model that is to be trained first: "
                f"crnn_jax.train('FILE:{path}', WORKDIR), then load WORKDIR"
            )
        raise UserError(f"{expected}, found no '{place}'{closest(str(path), names)}")
    if place.is_dir():
        return open_run(place, step)
    if step is not None:
        raise UserError(f"step expects the workdir of a run, found step={step} for file '{place}'")
    return load_file(place)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what is opened; `open_named` reads them."""
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--workdir", help="folder of a run of crnn_jax.main")
    one.add_argument("--file", help="file of crnn_jax.export")
    one.add_argument(
        "--model", metavar="NAME", help="model of the package: see crnn_jax.list_models()"
    )
    parser.add_argument(
        "--step", type=int, help="step of the run's checkpoint; default: the latest"
    )


def open_named(
    flags: argparse.Namespace,
    placement: Mapping[str, str] = MappingProxyType({}),
    num_devices: int = 1,
) -> "Predictor":
    """Returns what the flags of `add_flags` name.

    Args:
      flags: parsed.
      placement: config keys that say where data lies now, as from `flags.placement`.
      num_devices: over which an evaluation of a run is split; a file is of one device.

    Raises:
      UserError: see `load`; or a step of what is no run.
    """
    from crnn_jax.export.formats import load_file
    from crnn_jax.run import open_run

    if flags.workdir is not None:
        return open_run(flags.workdir, flags.step, num_devices=num_devices, placement=placement)
    if flags.step is not None:
        raise UserError("--step is of a run: expected --workdir, found --file or --model")
    if flags.model is not None:
        path = pretrained.find(flags.model)
    else:
        path = pathlib.Path(flags.file).expanduser()
        if not path.is_file():
            raise UserError(f"--file expects a file of crnn_jax.export, found no '{path}'")
    found = load_file(path)
    for key, value in placement.items():
        override(found.config, key, value)
    return found
