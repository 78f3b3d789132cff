"""The run as an ONNX graph, which onnxruntime runs without JAX and Netron shows."""

import pathlib
import zlib
from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime
from flax import traverse_util

from crnn_jax.errors import UserError
from crnn_jax.export import onnx_models, onnx_streaming
from crnn_jax.export.formats import Exported, open_program
from crnn_jax.export.metadata import of_strings, to_strings
from crnn_jax.export.onnx_graph import Graph
from crnn_jax.run import Run
from crnn_jax.tasks.task import Predictions

OUTPUT = "probability"
_SEALED, _CHECKSUM = "crnn_jax_sealed", "crnn_jax_crc32"
_LARGEST = 2**31 - 2**20  # bytes of a protocol buffer, less some for what is no array


def make(run: Run, *, streaming: bool = False) -> onnx.ModelProto:
    """Returns the graph: uint8 pixels (batch, *input_shape) to class probabilities (batch, K).

    Args:
      run: in float32.
      streaming: the graph is that of one step (`onnx_streaming`).

    Raises:
      UserError: no classification, a model, a cell or an order of steps that no graph can have, or
        too many weights.
    """
    if (order := getattr(run.experiment.model, "step_order", "natural")) != "natural":
        raise UserError(
            f"format 'onnx' expects 'model.step_order' natural, found '{order}': choose "
            "--format=stablehlo"
        )
    graph = Graph(weights_of(run))
    build = onnx_streaming.build_step if streaming else onnx_models.build
    name = build(run.experiment.model, graph, run.task.pixels, run.state.norm, run.input_shape)
    graph.add("Identity", "output", [name], [OUTPUT])
    graph.outputs[OUTPUT] = ("batch", len(run.class_names))
    return graph.model()


def weights_of(run: Run) -> dict[str, np.ndarray]:
    """Returns the arrays of the model by their path below "params" or "batch_stats".

    Raises:
      UserError: they are more than a file can hold.
    """
    arrays: dict[str, np.ndarray] = {}
    for tree in jax.device_get(run.weights).values():
        arrays |= traverse_util.flatten_dict(tree, sep="/")
    if (size := sum(array.nbytes for array in arrays.values())) > _LARGEST:
        raise UserError(
            f"format 'onnx' expects weights of at most {_LARGEST} bytes, found {size}: choose "
            "--format=stablehlo"
        )
    return arrays


def save(content: onnx.ModelProto, path: pathlib.Path, metadata: dict[str, Any]) -> None:
    """Writes the file, which ends with its checksum as one more text of its metadata."""
    del content.metadata_props[:]
    onnx.helper.set_model_props(content, to_strings(metadata) | {_SEALED: "true"})
    body = content.SerializeToString()
    path.write_bytes(body + _seal(body))


def _seal(body: bytes) -> bytes:
    """Returns the bytes after `body`: what is appended to a protocol buffer belongs to it."""
    entry = onnx.StringStringEntryProto(key=_CHECKSUM, value=f'"{zlib.crc32(body):08x}"')
    return onnx.ModelProto(metadata_props=[entry]).SerializeToString()


def _check_seal(path: pathlib.Path, sealed: bool) -> None:
    """Checks a file that ends with its checksum; one of an older version does not.

    Raises:
      UserError: the file was changed since; or it has no such end, and is `sealed`.
    """
    content, length = path.read_bytes(), len(_seal(b""))
    body, end = content[:-length], content[-length:]
    if (sealed or _CHECKSUM.encode() in end) and end != _seal(body):
        raise UserError(
            f"'{path}' is damaged, its checksum differs: copy it again, or make it anew; if it was "
            f"changed on purpose, delete '{_SEALED}' and '{_CHECKSUM}' of its metadata_props"
        )


def load(path: pathlib.Path) -> Exported:
    """Returns the graph, run by onnxruntime on the CPU; one of a step is run once for each step.

    Raises:
      UserError: it is no such file, or a damaged one.
    """
    try:
        _check_seal(path, sealed=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except UserError:
        raise
    except Exception as error:  # onnxruntime's have no common class
        raise UserError(
            f"'{path}' is expected to be a file of crnn_jax.export, found: {error}"
        ) from None
    metadata = of_strings(path, session.get_modelmeta().custom_metadata_map)
    _check_seal(path, sealed=metadata.pop(_SEALED, False))
    metadata.pop(_CHECKSUM, None)
    name: str = metadata["input"]
    states: dict[str, Any] = {x.name: x.shape for x in session.get_inputs()}
    states.pop(name)

    def run(pixels: np.ndarray) -> Predictions:
        return {OUTPUT: np.asarray(session.run([OUTPUT], {name: pixels})[0])}

    def run_steps(pixels: np.ndarray) -> Predictions:
        values: dict[str, Any] = {
            state: np.zeros([len(pixels) if dim == "batch" else dim for dim in dims], np.float32)
            for state, dims in states.items()
        }
        outputs = [OUTPUT, *(onnx_streaming.NEXT + state for state in states)]
        found: Any = None
        for index in range(pixels.shape[1]):
            found, *after = session.run(outputs, {name: pixels[:, index], **values})
            values = dict(zip(states, after, strict=True))
        return {OUTPUT: found}

    return open_program(path, metadata, run_steps if states else run)
