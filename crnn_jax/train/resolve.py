"""What a config leaves to the start of a run: chosen here, once, and stored with the run."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from crnn_jax import models, processor
from crnn_jax.config import AUTO_KEYS, flatten, keys_of
from crnn_jax.distributed import check_same
from crnn_jax.mesh import batch_parts, make_mesh

# Measured (docs/performance.md): on a CPU convolutions inside a loop are several times slower.
_MEASURED = {"cpu": 1}
# NOT MEASURED YET: an assumption, to be settled by benchmarks/dispatch.py on such a device. A scan
# of a few steps hides what the host needs for a dispatch (about 0.1 ms) behind the device's work.
_ASSUMED = {"gpu": 8, "tpu": 8}


def resolve(
    config: ConfigDict, stored: ConfigDict | None, input_shape: Callable[[], Sequence[int]]
) -> ConfigDict:
    """Returns a copy of the config in which nothing is left to be chosen; itself, if nothing is.

    `batch_size` is set from `batch_size_per_device`, which becomes 0: the global size decides which
    examples a step sees, so a run that goes on with other devices must keep it. Keys whose choice
    is left to the run (`AUTO_KEYS`) are those of the stored run, so that it goes on with the same
    program on another machine, or after the measurements have changed; of a new run, what suits
    the device.

    Args:
      config: validated.
      stored: the config of the run that is resumed; None for a new run.
      input_shape: returns the shape of an example; called only where a choice needs it, since it
        may have to read the data.

    Raises:
      UserError: a choice needs devices that `mesh.*` does not fit.
    """
    config = ConfigDict(config.to_dict())
    if config.batch_size_per_device > 0:
        config.batch_size = config.batch_size_per_device * batch_parts(run_mesh(config))
        config.batch_size_per_device = 0
    if stored is not None:
        _keep(config, stored)
    if config.precision == "auto":
        config.precision = choose_precision(config, jax.default_backend())
    if config.steps_per_dispatch == 0:
        config.steps_per_dispatch = choose_steps_per_dispatch(config, jax.default_backend())
    if "implementation" in config.model and config.model.implementation == "auto":
        mesh = run_mesh(config)
        parts = config.logical_shards if config.reproducible else batch_parts(mesh)
        config.model.implementation = models.choose_implementation(
            config.model,
            input_shape(),
            max(1, config.batch_size // parts),
            jnp.dtype(config.precision),
        )
    return config


def check_same_programs(config: ConfigDict) -> None:
    """Checks that the processes of a run trace the same programs; all must call it.

    Processors of two kinds choose otherwise: the precision, and in bfloat16 the products.

    Args:
      config: with nothing left to be chosen.

    Raises:
      UserError: on every process, says what each has.
    """
    flat, backend = flatten(config), jax.default_backend()
    chosen = [f"{key}={flat[key]}" for key in AUTO_KEYS if key in flat]
    if backend == "cpu" and config.precision == "bfloat16":
        backend += " with AMX" if processor.has_bfloat16_tiles() else " without AMX"
    text = f"{', '.join(chosen)} on {backend}"
    remedy = "use hosts of one kind, or 'precision=float32' in a new run"
    check_same("the same programs", text, text, remedy)


def run_mesh(config: ConfigDict) -> Mesh:
    """Returns the mesh that `config.mesh` describes; see `make_mesh`."""
    return make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.model)


def _keep(config: ConfigDict, stored: ConfigDict) -> None:
    """Sets the keys whose choice is left to the run to what the stored run chose."""
    chosen = flatten(stored)
    for name, key in keys_of(config.model.name).items():
        if key.auto is None or name not in chosen:
            continue
        section, _, leaf = name.rpartition(".")
        node = config[section] if section else config
        if node[leaf] == key.auto:
            node[leaf] = chosen[name]


def choose_precision(config: ConfigDict, backend: str) -> str:
    """Returns "bfloat16" where it is the faster precision to train in, else "float32".

    On a CPU that needs instructions for it: AMX, or AVX-512's and convolutions, whose library is
    the one that uses them (docs/performance.md).

    Args:
      config: validated.
      backend: "cpu", "gpu" or "tpu", as `jax.default_backend()` says.
    """
    if backend != "cpu":
        return "bfloat16"
    has_convolutions = "width" in config.model and processor.has_bfloat16()
    fast = has_convolutions or processor.has_bfloat16_tiles()
    return "bfloat16" if fast else "float32"


def choose_steps_per_dispatch(config: ConfigDict, backend: str) -> int:
    """Returns how many optimizer steps one program holds, as suits `backend` and the data.

    Args:
      config: validated.
      backend: "cpu", "gpu" or "tpu", as `jax.default_backend()` says; 1 for any other.
    """
    if config.data.pipeline != "resident" or config.reproducible:
        return 1
    return {**_MEASURED, **_ASSUMED}.get(backend, 1)
