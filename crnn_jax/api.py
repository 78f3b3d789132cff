"""What `import crnn_jax` offers: load what was trained, train, list the models."""

import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.config import MODEL_DEFAULTS, override
from crnn_jax.errors import UserError
from crnn_jax.export.formats import load_file
from crnn_jax.flags import resolve_config
from crnn_jax.predictor import Predictor
from crnn_jax.run import Run, open_run
from crnn_jax.train import loop


def load(path: str | pathlib.Path, *, step: int | None = None) -> Predictor:
    """Returns what was trained, ready to be asked: `predict`, `probabilities`, `features`.

    Args:
      path: a workdir of a run, or a file of `python -m crnn_jax.export`.
      step: of a run's checkpoint; None: the newest good one.

    Raises:
      UserError: no run or exported file there, no such checkpoint, or a damaged one.
    """
    place = pathlib.Path(path).expanduser()
    if not place.exists():
        raise UserError(f"expected a workdir of a run or an exported file, found no '{place}'")
    if place.is_dir():
        return open_run(place, step)
    if step is not None:
        raise UserError(f"step expects the workdir of a run, found step={step} for file '{place}'")
    return load_file(place)


def train(
    config: str | ConfigDict,
    workdir: str | pathlib.Path,
    changes: Mapping[str, Any] | None = None,
) -> Run:
    """Returns the trained run in `workdir`; one that was stopped goes on, a finished one is opened.

    Args:
      config: FILE:MODEL, as on the command line ("configs/digits.py:crnn"), or a config.
      workdir: for checkpoints and results.
      changes: of the config: {"optim.learning_rate": 0.002, "duration": "5 epochs"}.

    Raises:
      UserError: a mistake in the config, the data or the workdir; a loss that is not finite.
      SystemExit: stopped by a signal, after a checkpoint.
    """
    texts = {name: str(value) for name, value in (changes or {}).items()}
    if isinstance(config, str):
        chosen = resolve_config(config, texts)
    else:
        chosen = ConfigDict(config.to_dict())
        for name, text in texts.items():
            override(chosen, name, text)
    loop.train(chosen, str(workdir))
    return open_run(workdir)


def list_models() -> list[str]:
    """Returns the names of the models that a config may choose, as in FILE:MODEL."""
    return list(MODEL_DEFAULTS)
