"""Convolutional-recurrent image models in JAX: train, compare, scale, explain.

    import crnn_jax

    run = crnn_jax.train("digits:crnn", "runs/digits")
    run = crnn_jax.load("runs/digits")              # or a file of `python -m crnn_jax.export`
    run = crnn_jax.load("digits_crnn")              # comes with the package; see list_models()
    run.predict(["photo.jpg", "folder"])            # [{"path", "class", "probability", "top"}, ...]
    run.probabilities(images)                       # float32 (B, K), as run.class_names
    run.features(images)                            # what the head reads; or layer="trunk"

`load` returns a `Predictor`, which of a run and of a safetensors file is a `Run`. A mistake raises
a `UserError`, whose text is one line. Nothing else is imported until one of these is named.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crnn_jax.api import list_models as list_models
    from crnn_jax.api import load as load
    from crnn_jax.api import train as train
    from crnn_jax.errors import UserError as UserError
    from crnn_jax.predictor import Predictor as Predictor
    from crnn_jax.run import Run as Run

__version__ = "0.2.0"
__all__ = ["Predictor", "Run", "UserError", "__version__", "list_models", "load", "train"]
_MODULES = {  # name: the module that has it
    "Predictor": "predictor",
    "Run": "run",
    "UserError": "errors",
    "list_models": "api",
    "load": "api",
}


def __getattr__(name: str) -> Any:
    """Returns what has the name; its module is imported now."""
    if name == "train":  # the folder of this name, which can be called: see its docstring
        return importlib.import_module("crnn_jax.train")
    if name in _MODULES:
        return getattr(importlib.import_module(f"crnn_jax.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'crnn_jax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
