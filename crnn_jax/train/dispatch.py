"""How many optimizer steps one program holds."""

import math

import jax
from ml_collections import ConfigDict

# Measured (docs/performance.md): on a CPU convolutions inside a loop are several times slower.
_MEASURED = {"cpu": 1}
# NOT MEASURED YET: an assumption, to be settled by benchmarks/dispatch.py on such a device. A scan
# of a few steps hides what the host needs for a dispatch (about 0.1 ms) behind the device's work.
_ASSUMED = {"gpu": 8, "tpu": 8}


def steps_per_dispatch(config: ConfigDict, backend: str) -> int:
    """Returns `config.steps_per_dispatch`; where that is 0, what suits `backend` and the data.

    Args:
      config: validated.
      backend: "cpu", "gpu" or "tpu", as `jax.default_backend()` says; 1 for any other.
    """
    if config.steps_per_dispatch:
        return config.steps_per_dispatch
    if config.data.pipeline != "resident" or config.reproducible:
        return 1
    return {**_MEASURED, **_ASSUMED}.get(backend, 1)


def settle(config: ConfigDict, stored: ConfigDict | None) -> ConfigDict:
    """Returns a copy of `config` in which nothing is left to be chosen.

    Args:
      config: validated.
      stored: the config of the run that is resumed, whose choice stays; None for a new run.
    """
    config = config.copy_and_resolve_references()
    if stored is not None and config.steps_per_dispatch == 0:
        config.steps_per_dispatch = stored.steps_per_dispatch
    config.steps_per_dispatch = steps_per_dispatch(config, jax.default_backend())
    return config


def round_up(num_steps: int, multiple: int) -> int:
    """Returns the smallest multiple of `multiple` that is at least `num_steps`."""
    return math.ceil(num_steps / multiple) * multiple
