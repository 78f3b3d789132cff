"""What `import crnn_jax` offers: load what was trained, train, list the models."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from crnn_jax import pretrained
from crnn_jax.config import MODEL_DEFAULTS, override
from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.opened import load
from crnn_jax.run import Run, open_run
from crnn_jax.train import loop

__all__ = ["list_models", "load", "train"]


def train(
    config: str | ConfigDict,
    workdir: str | pathlib.Path,
    changes: Mapping[str, Any] | None = None,
) -> Run:
    """Returns the trained run in `workdir`; one that was stopped goes on, a finished one is opened.

    Args:
      config: FILE:MODEL, as on the command line ("configs/digits.py:crnn"), or a config.
      workdir: for checkpoints and results.
      changes: config keys with values: {"optim.learning_rate": 0.002, "duration": "5 epochs"}.

    Raises:
      UserError: a mistake in the config, the data or the workdir; a loss that is not finite.
      SystemExit: stopped by a signal, after a checkpoint.
    """
    for name, value, kinds, expected in (
        ("config", config, (str, ConfigDict), "FILE:MODEL, such as 'digits:crnn', or a ConfigDict"),
        ("workdir", workdir, (str, os.PathLike), "a path"),
        ("changes", changes or {}, (Mapping,), "a dict such as {'optim.learning_rate': 0.002}"),
    ):
        if not isinstance(value, kinds):
            raise UserError(f"{name} expects {expected}, found {type(value).__name__}")
    texts = {str(name): str(value) for name, value in (changes or {}).items()}
    if isinstance(config, str):
        chosen = resolve_config(config, texts)
    else:
        chosen = ConfigDict(config.to_dict())
        for name, text in texts.items():
            override(chosen, name, text)
    loop.train(chosen, str(workdir))
    return open_run(workdir)


def list_models(*, trained: bool = False) -> list[str]:
    """Returns the models that a config may choose, as in FILE:MODEL, and those that are trained.

    Args:
      trained: only those that come with the package, trained, which `load` opens by name.
    """
    return [*([] if trained else MODEL_DEFAULTS), *pretrained.names()]
