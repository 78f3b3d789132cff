"""The training: state, step, and the only loop.

`crnn_jax.train(config, workdir)` is a call of this package: once a module of it is imported,
Python has its package under that name, whatever else `crnn_jax` puts there.
"""

import importlib
import sys
import types
from typing import Any


class _Callable(types.ModuleType):
    """A package that is a function too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Returns `crnn_jax.api.train` of the arguments."""
        return importlib.import_module("crnn_jax.api").train(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
