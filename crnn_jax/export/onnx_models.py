"""The models as ONNX graphs, each put together from the parts in `onnx_parts`."""

import math
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from crnn_jax import models
from crnn_jax.errors import UserError
from crnn_jax.export.onnx_graph import Graph
from crnn_jax.export.onnx_parts import (
    Pixels,
    bands,
    dense,
    frame_features,
    layer_norm,
    linear,
    normalise,
    patches,
    pooled,
    readout,
    softmax,
    trunk,
)
from crnn_jax.export.onnx_recurrent import recurrent
from crnn_jax.models.cnn import CNN
from crnn_jax.models.crnn import CRNN
from crnn_jax.models.lrcn import LRCN, band_tops
from crnn_jax.models.readout import Last
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.rnn import RNN
from crnn_jax.models.rnn_deep import RNNDeep
from crnn_jax.models.sequencer import EPSILON, Sequencer
from crnn_jax.models.tsn import TSN, centre_offsets


def build(model: nn.Module, graph: Graph, name: str, norm: dict[str, Any], shape: Any) -> str:
    """Returns the name of the class probabilities (B, K) of a model, added to the graph.

    Args:
      model: one of `MODELS`.
      graph: with the model's weights.
      name: the graph's input, uint8 (B, *shape).
      norm: {"mean_C", "std_C"}.
      shape: shape of an example.

    Raises:
      UserError: a model or a cell that no graph can have.
    """
    if type(model) not in MODELS:
        known = [name for name, kind in models.MODELS.items() if kind in MODELS]
        found = [name for name, kind in models.MODELS.items() if kind is type(model)]
        raise UserError(
            f"format 'onnx' expects 'model.name' to be one of {', '.join(known)}, found "
            f"'{''.join(found)}': choose --format=stablehlo"
        )
    graph.inputs[name] = ("uint8", ("batch", *shape))
    pixels = Pixels(normalise(graph, name, norm), tuple(shape))
    return MODELS[type(model)](model, graph, pixels)


def classify(model: Any, graph: Graph, feature_TBD: str, num_steps: int) -> str:
    """Returns the probabilities of what a recurrent layer reads, by readout and head."""
    ends = recurrent(graph, "recurrent", model.recurrent, feature_TBD, num_steps)
    return softmax(graph, dense(model.head, graph, readout(model.readout, graph, ends)))


def sweep(module: Recurrent, graph: Graph, at: str, line_TBLD: str, shape: Any) -> str:
    """Returns the states (T, B, L, 2N) of each of the L lines; shape: (T, L, D)."""
    num_steps, num_lines, size = shape
    feature_TBD = graph.reshape(f"{at}/lines", line_TBLD, (num_steps, -1, size))
    state_TBN = recurrent(graph, at, module, feature_TBD, num_steps).state_TBN
    width = 2 * module.hidden_units
    return graph.reshape(f"{at}/states", state_TBN, (num_steps, -1, num_lines, width))


def cnn(model: CNN, graph: Graph, pixels: Pixels) -> str:
    """Returns the probabilities of the CNN; in a clip it reads the middle frame."""
    if pixels.is_clip:
        middle = graph.constant("middle_frame/index", pixels.shape[0] // 2)
        name = graph.add("Gather", "middle_frame", [pixels.name, middle], axis=1)
        pixels = Pixels(name, pixels.shape[1:])
    features = trunk(model.trunk, graph, pixels.name, *pixels.shape[:2])
    return softmax(graph, dense(model.head, graph, pooled(graph, features)))


def rnn(model: RNN, graph: Graph, pixels: Pixels) -> str:
    """Returns the probabilities of the RNN, over frames, rows or patches."""
    if pixels.is_clip or model.tokens == "rows":
        num_steps, size = pixels.shape[0], math.prod(pixels.shape[1:])
        feature_BTD = graph.reshape("steps/rows", pixels.name, (0, num_steps, size))
    else:
        grid = patches(graph, "patches", pixels, model.patch_size)
        num_steps, size = grid.shape[0] * grid.shape[1], grid.shape[2]
        feature_BTD = graph.reshape("steps/patches", grid.name, (0, num_steps, size))
    return classify(model, graph, graph.transpose("steps", feature_BTD, (1, 0, 2)), num_steps)


def rnn_deep(model: RNNDeep, graph: Graph, pixels: Pixels) -> str:
    """Returns the probabilities of the deep RNN."""
    for index, size in enumerate(model.patch_sizes):
        grid = patches(graph, f"patches_{index}", pixels, size)
        height, width, channels = grid.shape
        line_HBWD = graph.transpose(f"columns_{index}/steps", grid.name, (1, 0, 2, 3))
        shape = (height, width, channels)
        column_HBWD = sweep(model.columns[index], graph, f"columns_{index}", line_HBWD, shape)
        line_WBHD = graph.transpose(f"rows_{index}/steps", column_HBWD, (2, 1, 0, 3))
        shape = (width, height, 2 * model.columns[index].hidden_units)
        row_WBHD = sweep(model.rows[index], graph, f"rows_{index}", line_WBHD, shape)
        name = graph.transpose(f"grid_{index}", row_WBHD, (1, 2, 0, 3))
        pixels = Pixels(name, (height, width, 2 * model.rows[index].hidden_units))
    mean_BD = graph.reduce("ReduceMean", "mean", pixels.name, (1, 2))
    return softmax(graph, dense(model.head, graph, mean_BD))


def sequencer(model: Sequencer, graph: Graph, pixels: Pixels) -> str:
    """Returns the probabilities of Sequencer2D."""
    for stage, (depth, size) in enumerate(zip(model.depths, model.patch_sizes, strict=True)):
        grid = patches(graph, f"patches_{stage}", pixels, size)
        name = linear(graph, f"embed_{stage}", grid.name)
        pixels = Pixels(name, (*grid.shape[:2], model.channels[stage]))
        for index in range(depth):
            pixels = _block(model, graph, f"block_{stage}_{index}", pixels)
    feature_BHWC = layer_norm(graph, "norm", pixels.name, EPSILON)
    mean_BC = graph.reduce("ReduceMean", "mean", feature_BHWC, (1, 2))
    return softmax(graph, dense(model.head, graph, mean_BC))


def _block(model: Sequencer, graph: Graph, at: str, grid: Pixels) -> Pixels:
    """Returns the grid after a `sequencer.Block`."""
    normed_BHWC = layer_norm(graph, f"{at}/norm_sweeps", grid.name, EPSILON)
    mixed_BHWC = _bilstm_2d(model.cell, graph, f"{at}/sweeps", Pixels(normed_BHWC, grid.shape))
    name = graph.add("Add", f"{at}/after_sweeps", [grid.name, mixed_BHWC])
    hidden_BHWC = layer_norm(graph, f"{at}/norm_mlp", name, EPSILON)
    hidden_BHWD = linear(graph, f"{at}/mlp_in", hidden_BHWC)
    hidden_BHWD = graph.add("Gelu", f"{at}/gelu", [hidden_BHWD], approximate="none")
    added_BHWC = linear(graph, f"{at}/mlp_out", hidden_BHWD)
    return Pixels(graph.add("Add", at, [name, added_BHWC]), grid.shape)


def _bilstm_2d(cell: str, graph: Graph, at: str, grid: Pixels) -> str:
    """Returns what a `sequencer.BiLSTM2D` makes of a grid: a node a sweep, and a linear layer."""
    height, width, channels = grid.shape
    module = Recurrent(
        cell,
        graph.weights[f"{at}/fuse/kernel"].shape[0] // 4,  # two sweeps in two directions
        num_recurrent_layers=1,
        bidirectional=True,
        implementation="scan",
        remat=False,
        dtype=None,
    )
    line_HBWC = graph.transpose(f"{at}/columns/steps", grid.name, (1, 0, 2, 3))
    shape = (height, width, channels)
    column_HBWN = sweep(module, graph, f"{at}/columns", line_HBWC, shape)
    line_WBHC = graph.transpose(f"{at}/rows/steps", grid.name, (2, 0, 1, 3))
    row_WBHN = sweep(module, graph, f"{at}/rows", line_WBHC, (width, height, channels))
    both = [
        graph.transpose(f"{at}/columns/grid", column_HBWN, (1, 0, 2, 3)),
        graph.transpose(f"{at}/rows/grid", row_WBHN, (1, 2, 0, 3)),
    ]
    return linear(graph, f"{at}/fuse", graph.add("Concat", f"{at}/both", both, axis=-1))


def lrcn(model: LRCN, graph: Graph, pixels: Pixels) -> str:
    """Returns the probabilities of LRCN: with the readout 'last' the mean of those of its steps."""
    clips = pixels
    if not pixels.is_clip:
        top_T, height = band_tops(pixels.shape[0], model.num_frames, model.frame_height)
        clips = bands(graph, pixels, top_T, height)
    feature_TBD = frame_features(model.trunk, graph, clips)
    if not isinstance(model.readout, Last):
        return classify(model, graph, feature_TBD, clips.shape[0])
    ends = recurrent(graph, "recurrent", model.recurrent, feature_TBD, clips.shape[0])
    step_TBK = softmax(graph, dense(model.head, graph, ends.state_TBN))
    return graph.reduce("ReduceMean", "mean_probabilities", step_TBK, (0,))


def tsn(model: TSN, graph: Graph, pixels: Pixels) -> str:
    """Returns the probabilities of TSN's consensus."""
    clips = pixels
    if not pixels.is_clip:
        top_S, height = centre_offsets(pixels.shape[0], model.num_segments, model.snippet_height)
        clips = bands(graph, pixels, top_S, height)
    score_SBK = dense(model.head, graph, frame_features(model.trunk, graph, clips))
    if model.consensus == "learned":
        weight_S = graph.weights["consensus_weight"][:, None, None]
        weight_S = graph.constant("consensus_weight", weight_S)
        score_SBK = graph.add("Mul", "consensus/weighted", [score_SBK, weight_S])
    op = {"mean": "ReduceMean", "max": "ReduceMax", "learned": "ReduceSum"}[model.consensus]
    return softmax(graph, graph.reduce(op, "consensus", score_SBK, (0,)))


def crnn(model: CRNN, graph: Graph, pixels: Pixels) -> str:
    """Returns the probabilities of the CRNN."""
    if pixels.is_clip:
        feature_TBD = frame_features(model.trunk, graph, pixels)
        return classify(model, graph, feature_TBD, pixels.shape[0])
    map_BCHW, height, width, channels = trunk(model.trunk, graph, pixels.name, *pixels.shape[:2])
    order, num_steps, size = {
        "rows": ((2, 0, 3, 1), height, width * channels),
        "columns": ((3, 0, 2, 1), width, height * channels),
        "raster": ((2, 3, 0, 1), height * width, channels),
    }[model.sequence]
    value = graph.transpose("steps/order", map_BCHW, order)
    feature_TBD = graph.reshape("steps", value, (num_steps, -1, size))
    return classify(model, graph, feature_TBD, num_steps)


MODELS: dict[type[nn.Module], Callable[[Any, Graph, Pixels], str]] = {
    CNN: cnn,
    RNN: rnn,
    RNNDeep: rnn_deep,
    LRCN: lrcn,
    TSN: tsn,
    CRNN: crnn,
    Sequencer: sequencer,
}
