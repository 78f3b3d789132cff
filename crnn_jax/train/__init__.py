"""The training: state, step, and the only loop.

`crnn_jax.train(config, workdir)` is a call of this package: once a module of it is imported,
Python has its package under that name, whatever else `crnn_jax` puts there.
"""

import importlib
import inspect
import sys
import types
from typing import Any


def _function() -> Any:
    """Returns `crnn_jax.api.train`, which imports JAX: not before somebody asks."""
    return importlib.import_module("crnn_jax.api").train


class _Callable(types.ModuleType):
    """A package that is a function too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _function()(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function())

    @property
    def __doc__(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return _function().__doc__


sys.modules[__name__].__class__ = _Callable
