"""The parts that models are made of as ONNX nodes, a small function for each.

Images are (B, H, W, C) until a trunk reads them, and (B, C, H, W) inside it, as ONNX has them;
what a recurrent layer reads and writes has time first.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn

from crnn_jax.errors import UserError
from crnn_jax.export.onnx_graph import Graph
from crnn_jax.export.onnx_recurrent import Ends
from crnn_jax.models.heads import Classifier
from crnn_jax.models.normalization import BatchNorm
from crnn_jax.models.readout import Attention, Last, Mean, Readout
from crnn_jax.models.trunk import Trunk, layers_per_stage


class Pixels(NamedTuple):
    """Normalised pixels: their name, and (H, W, C), or (F, H, W, C) of clips."""

    name: str
    shape: tuple[int, ...]

    @property
    def is_clip(self) -> bool:
        """Whether they are clips."""
        return len(self.shape) == 4


class Map(NamedTuple):
    """A map (B, C, H, W)."""

    name: str
    height: int
    width: int
    channels: int


def normalise(graph: Graph, name: str, norm: dict[str, Any]) -> str:
    """Returns (pixels - mean) / std, float32."""
    value = graph.add("Cast", "normalise/float", [name], to=1)  # float32
    mean = graph.constant("normalise/mean", norm["mean_C"])
    std = graph.constant("normalise/std", norm["std_C"])
    return graph.add(
        "Div", "normalise", [graph.add("Sub", "normalise/centred", [value, mean]), std]
    )


def trunk(module: Trunk, graph: Graph, image_BHWC: str, height: int, width: int) -> Map:
    """Returns the last map of images, or of frames."""
    x = graph.transpose("trunk/channels_first", image_BHWC, (0, 3, 1, 2))
    channels = 0
    if module.whiten_size > 0:
        x = convolution(graph, "trunk/whiten", x)
        x = activation(graph, "trunk/whiten", x, module.activation)
    counts = layers_per_stage(module.num_conv_layers, len(module.stage_multipliers))
    for stage, count in enumerate(counts):
        for layer in range(count):
            at = f"trunk/conv_{stage}_{layer}"
            x = convolution(graph, at, x)
            if layer == 0:
                pads = (0, 0, height % 2, width % 2)  # an odd last row is a block of its own
                window = {"kernel_shape": (2, 2), "strides": (2, 2), "pads": pads}
                x = graph.add("MaxPool", f"trunk/pool_{stage}", [x], **window)
                height, width = math.ceil(height / 2), math.ceil(width / 2)
            if module.norm:
                x = batch_norm(graph, f"trunk/norm_{stage}_{layer}", x)
            x = activation(graph, at, x, module.activation)
            channels = graph.weights[f"{at}/kernel"].shape[-1]
    return Map(x, height, width, channels)


def convolution(graph: Graph, path: str, image_BCHW: str) -> str:
    """Returns the convolution with padding SAME; its bias, where there is one, comes with it."""
    kernel_HWIO = graph.weights[f"{path}/kernel"]
    before = (kernel_HWIO.shape[0] - 1) // 2
    after = kernel_HWIO.shape[0] - 1 - before
    inputs = [image_BCHW, graph.constant(f"{path}/kernel", kernel_HWIO.transpose(3, 2, 0, 1))]
    if f"{path}/bias" in graph.weights:
        inputs.append(graph.weight(f"{path}/bias"))
    return graph.add("Conv", path, inputs, pads=(before, before, after, after))


def batch_norm(graph: Graph, path: str, image_BCHW: str) -> str:
    """Returns the image normalised by the running statistics."""
    mean = graph.weight(f"{path}/mean")
    graph.weights.setdefault(f"{path}/scale", np.ones_like(graph.weights[mean]))
    inputs = [image_BCHW, graph.weight(f"{path}/scale"), graph.weight(f"{path}/bias"), mean]
    inputs.append(graph.weight(f"{path}/var"))
    return graph.add("BatchNormalization", path, inputs, epsilon=BatchNorm.epsilon)


def activation(graph: Graph, path: str, value: str, name: str) -> str:
    """Returns the trunk's activation of a value."""
    if name == "relu":
        return graph.add("Relu", f"{path}/relu", [value])
    return graph.add("Gelu", f"{path}/gelu", [value], approximate="tanh")


def pooled(graph: Graph, features: Map) -> str:
    """Returns the mean over the map, (B, C)."""
    return graph.reduce("ReduceMean", "trunk/pooled", features.name, (2, 3))


def dense(module: nn.Module, graph: Graph, value: str) -> str:
    """Returns the class scores (..., K) of (..., D).

    Raises:
      UserError: a head that no graph can have.
    """
    if not isinstance(module, Classifier):
        raise UserError(
            f"format 'onnx' expects the head Classifier, found {type(module).__name__}: choose "
            "--format=stablehlo"
        )
    scale = module.logit_scale
    kernel = graph.constant("head/kernel", scale * graph.weights["head/dense/kernel"])
    bias = graph.constant("head/bias", scale * graph.weights["head/dense/bias"])
    product = graph.add("MatMul", "head", [value, kernel])
    return graph.add("Add", "head/scores", [product, bias])


def linear(graph: Graph, path: str, value: str) -> str:
    """Returns what a linear layer inside a model makes of (..., D)."""
    product = graph.add("MatMul", f"{path}/product", [value, graph.weight(f"{path}/kernel")])
    return graph.add("Add", path, [product, graph.weight(f"{path}/bias")])


def layer_norm(graph: Graph, path: str, value: str, epsilon: float) -> str:
    """Returns the value normalised over its last axis."""
    inputs = [value, graph.weight(f"{path}/scale"), graph.weight(f"{path}/bias")]
    return graph.add("LayerNormalization", path, inputs, axis=-1, epsilon=epsilon)


def softmax(graph: Graph, scores: str) -> str:
    """Returns the class probabilities (..., K)."""
    return graph.add("Softmax", "probabilities", [scores], axis=-1)


def readout(module: Readout, graph: Graph, ends: Ends) -> str:
    """Returns one vector (B, N) of the states.

    Raises:
      UserError: a readout that no graph can have.
    """
    if isinstance(module, Last):
        return ends.last_BN
    if isinstance(module, Mean):
        return graph.reduce("ReduceMean", "readout", ends.state_TBN, (0,))
    if not isinstance(module, Attention):
        raise UserError(
            "format 'onnx' expects 'model.readout' to be last, mean or attention, found "
            f"{type(module).__name__}: choose --format=stablehlo"
        )
    product = graph.add(
        "MatMul", "readout/product", [ends.state_TBN, graph.weight("readout/kernel")]
    )
    hidden = graph.add("Add", "readout/sum", [product, graph.weight("readout/bias")])
    hidden = graph.add("Tanh", "readout/tanh", [hidden])
    score_N1 = graph.constant("readout/score", graph.weights["readout/score"][:, None])
    energy_TB1 = graph.add("MatMul", "readout/energy", [hidden, score_N1])
    share_TB1 = graph.add("Softmax", "readout/attention", [energy_TB1], axis=0)
    weighted = graph.add("Mul", "readout/weighted", [share_TB1, ends.state_TBN])
    return graph.reduce("ReduceSum", "readout", weighted, (0,))


def frames_first(graph: Graph, pixels: Pixels) -> str:
    """Returns the frames of clips as images, (B * F, H, W, C)."""
    return graph.reshape("frames", pixels.name, (-1, *pixels.shape[1:]))


def by_step(graph: Graph, name: str, feature_ND: str, num_steps: int, size: int) -> str:
    """Returns feature_TBD of (B * T, D)."""
    feature_BTD = graph.reshape(f"{name}/by_example", feature_ND, (-1, num_steps, size))
    return graph.transpose(name, feature_BTD, (1, 0, 2))


def bands(graph: Graph, pixels: Pixels, top_T: np.ndarray, height: int) -> Pixels:
    """Returns as clips the `height` rows of images from each of the rows `top_T` on."""
    row_TH = top_T[:, None] + np.arange(height)
    name = graph.add("Gather", "bands", [pixels.name, graph.constant("bands/rows", row_TH)], axis=1)
    return Pixels(name, (len(top_T), height, *pixels.shape[1:]))


def frame_features(module: Trunk, graph: Graph, clips: Pixels) -> str:
    """Returns feature_TBD: the mean over the last map of each frame."""
    num_frames, height, width, _ = clips.shape
    features = trunk(module, graph, frames_first(graph, clips), height, width)
    return by_step(graph, "features", pooled(graph, features), num_frames, features.channels)


def patches(graph: Graph, at: str, grid_BHWD: Pixels, size: int) -> Pixels:
    """Returns the grid of its `size` x `size` patches, (B, H', W', size * size * D)."""
    height, width, channels = grid_BHWD.shape
    rows, columns = math.ceil(height / size), math.ceil(width / size)
    name = grid_BHWD.name
    if (rows * size, columns * size) != (height, width):
        edges = graph.constant(
            f"{at}/edges", (0, 0, 0, 0, 0, rows * size - height, columns * size - width, 0)
        )
        name = graph.add("Pad", f"{at}/padded", [name, edges])
    name = graph.reshape(f"{at}/cells", name, (0, rows, size, columns, size, channels))
    name = graph.transpose(f"{at}/by_patch", name, (0, 1, 3, 2, 4, 5))
    width = size * size * channels
    return Pixels(graph.reshape(at, name, (0, rows, columns, width)), (rows, columns, width))
