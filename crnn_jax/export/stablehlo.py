"""The run as one StableHLO program, in a zip archive with its metadata.

The archive holds `metadata.json` and `program`, which `jax.export.deserialize` reads; it needs JAX
and nothing of this package.
"""

import json
import pathlib
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from crnn_jax.errors import UserError
from crnn_jax.export.formats import Exported, open_program
from crnn_jax.export.metadata import check, to_json
from crnn_jax.run import Run
from crnn_jax.tasks.task import Predictions

PLATFORMS = ("cpu", "cuda", "tpu")
_METADATA, _PROGRAM = "metadata.json", "program"


def make(run: Run) -> bytes:
    """Returns the serialized program: uint8 pixels (batch, *input_shape) to the predictions.

    Products are in full float32 on every device, so that all give what the certificate says.
    """
    model, task = run.experiment.model, run.task
    weights, norm = jax.device_get((run.weights, run.state.norm))

    def predict(pixels: jax.Array) -> Predictions:
        batch = {task.pixels: pixels}
        ready, _ = task.prepare(batch, norm, jnp.uint32(0), train=False)
        return task.predictions(model.apply(weights, ready, train=False))

    dims = export.symbolic_shape(", ".join(["batch", *map(str, run.input_shape)]))
    with jax.default_matmul_precision("highest"):
        program = export.export(jax.jit(predict), platforms=PLATFORMS)
        return bytes(program(jax.ShapeDtypeStruct(dims, jnp.uint8)).serialize())


def save(content: bytes, path: pathlib.Path, metadata: dict[str, Any]) -> None:
    """Writes the archive."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(_METADATA, to_json(metadata, indent=1))
        archive.writestr(_PROGRAM, content)


def load(path: pathlib.Path) -> Exported:
    """Returns the program; it is compiled for each number of inputs that it is called with.

    Raises:
      UserError: it is no such archive, or older than JAX reads.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = check(path, json.loads(archive.read(_METADATA)))
            program = export.deserialize(bytearray(archive.read(_PROGRAM)))
    except UserError:
        raise
    except Exception as error:  # JAX's are of many kinds: damaged, or older than it reads
        raise UserError(
            f"'{path}' is expected to be a file of crnn_jax.export, found: {error}"
        ) from None
    call = jax.jit(program.call)

    def run(pixels: np.ndarray) -> Predictions:
        return jax.device_get(call(pixels))

    return open_program(path, metadata, run)
