"""Converts weights of other projects: python -m crnn_jax.convert timm FILE.safetensors --out=OUT

timm: its Sequencer2D (sequencer2d_s, sequencer2d_m, sequencer2d_l), pretrained or fine-tuned,
becomes a weight file of this project (crnn_jax/weight_files.py), of the model `sequencer`. Each
array of the file has its place; a file that lacks one, or has one too many, is refused. Without
--model it is the size that the file's blocks are of.
"""

import pathlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.config import default_config
from crnn_jax.config.model_keys import SEQUENCER_DEPTHS
from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.new_file import new_file
from crnn_jax.weight_files import WeightFile, read_arrays, write_weights

# What timm's weights expect, in 0..255: the red, green and blue of ImageNet's images.
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
IMAGENET_SHAPE = (224, 224, 3)

_HEAD = "head.fc.weight"
_TIMM_SIZES = {f"sequencer2d_{size}": depths for size, depths in SEQUENCER_DEPTHS.items()}


class Part(NamedTuple):
    """Where one of our arrays comes from."""

    ours: str  # its name in a weight file
    theirs: tuple[str, ...]  # timm's names; the arrays are added up: PyTorch's LSTM has two biases
    shape: tuple[int, ...]  # each of theirs has it


def timm_parts(model: dict[str, Any], num_classes: int) -> Iterator[Part]:
    """Yields a part for each array of the model.

    Args:
      model: the keys of `config.model` of a sequencer, its cell the LSTM.
      num_classes: K.
    """
    inputs = 3
    stages = zip(model["depths"], model["channels"], model["patch_sizes"], strict=True)
    for stage, (depth, width, size) in enumerate(stages):
        theirs = f"stages.{stage}.downsample.down" if stage else "stem.proj"
        yield from _layer(f"embed_{stage}", theirs, (width, inputs, size, size))
        for index in range(depth):
            ours, theirs = f"block_{stage}_{index}", f"stages.{stage}.blocks.{index}"
            yield from _block(ours, theirs, width, int(model["mlp_ratio"] * width))
        inputs = width
    yield from _layer("norm", "norm", (inputs,))
    yield from _layer("head/dense", _HEAD.removesuffix(".weight"), (num_classes, inputs))


def _layer(ours: str, theirs: str, shape: tuple[int, ...]) -> Iterator[Part]:
    """Yields weight and bias of a linear layer, a convolution or (one axis) a LayerNorm."""
    weight = "scale" if len(shape) == 1 else "kernel"
    yield Part(f"params/{ours}/{weight}", (f"{theirs}.weight",), shape)
    yield Part(f"params/{ours}/bias", (f"{theirs}.bias",), shape[:1])


def _block(ours: str, theirs: str, width: int, mlp_width: int) -> Iterator[Part]:
    units = width // 4
    yield from _layer(f"{ours}/norm_sweeps", f"{theirs}.norm1", (width,))
    for sweep, rnn in (("columns", "rnn_v"), ("rows", "rnn_h")):
        for direction in ("", "_reverse"):
            layer = f"params/{ours}/sweeps/{sweep}/layer_0{direction}"
            x, h = (f"{theirs}.rnn_tokens.{rnn}.{{}}_{end}_l0{direction}" for end in ("ih", "hh"))
            yield Part(f"{layer}/kernel_x", (x.format("weight"),), (4 * units, width))
            yield Part(f"{layer}/kernel_h", (h.format("weight"),), (4 * units, units))
            yield Part(f"{layer}/bias", (x.format("bias"), h.format("bias")), (4 * units,))
    yield from _layer(f"{ours}/sweeps/fuse", f"{theirs}.rnn_tokens.fc", (width, 4 * units))
    yield from _layer(f"{ours}/norm_mlp", f"{theirs}.norm2", (width,))
    yield from _layer(f"{ours}/mlp_in", f"{theirs}.mlp_channels.fc1", (mlp_width, width))
    yield from _layer(f"{ours}/mlp_out", f"{theirs}.mlp_channels.fc2", (width, mlp_width))


def from_timm(arrays: dict[str, np.ndarray], model: dict[str, Any], where: str) -> WeightFile:
    """Returns the weights of a timm Sequencer2D as those of our `sequencer`.

    Linear layers are transposed, a convolution's kernel becomes the matrix of its patches (rows,
    columns, channels). The gates lie in PyTorch's order, i, f, g, o, in both.

    Args:
      arrays: by timm's names; the head's say how many classes there are.
      model: the keys of `config.model`.
      where: a name of the arrays' file, for messages.

    Raises:
      UserError: an array is missing, has another shape, or there is one too many.
    """
    num_classes = arrays[_HEAD].shape[0] if _HEAD in arrays and arrays[_HEAD].ndim else 0
    parts = list(timm_parts(model, num_classes))
    expected = {name: part.shape for part in parts for name in part.theirs}
    for name, shape in expected.items():
        if name not in arrays:
            raise UserError(f"expected an array '{name}', found none in '{where}'")
        if arrays[name].shape != shape:
            raise UserError(
                f"expected the array '{name}' of shape {shape}, found {arrays[name].shape} in "
                f"'{where}'"
            )
    for name in arrays:
        if name not in expected:
            raise UserError(
                f"expected {len(expected)} arrays, found one more in '{where}', '{name}', which "
                "has no place in the model"
            )
    ours = {part.ours: _turned(sum(arrays[name] for name in part.theirs)) for part in parts}
    return WeightFile(ours, model, num_classes, None, IMAGENET_MEAN, IMAGENET_STD)


def _turned(array: Any) -> np.ndarray:
    """Returns a vector as it is, and (O, I) or OIHW as a matrix of I or H W I inputs."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0).reshape(-1, array.shape[0])
    return array.T


def model_keys(name: str) -> dict[str, Any]:
    """Returns the keys of `config.model` of timm's model `name`, such as 'sequencer2d_s'."""
    return {**default_config("sequencer").model, "depths": _TIMM_SIZES[name]}


def nearest_model(names: set[str]) -> str:
    """Returns that of timm's sizes whose arrays' names are most like these."""

    def differing(size: str) -> int:
        expected = {name for part in timm_parts(model_keys(size), 0) for name in part.theirs}
        return len(expected ^ names)

    return min(_TIMM_SIZES, key=differing)


def main(argv: list[str]) -> None:
    """Reads the file, and writes ours."""
    parser = OneLineParser(prog="python -m crnn_jax.convert", description=__doc__)
    parser.add_argument("project", choices=("timm",), help="whose weights they are")
    parser.add_argument("file", metavar="FILE.safetensors", type=pathlib.Path)
    parser.add_argument("--model", choices=tuple(_TIMM_SIZES), help="default: the file's")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="file to write")
    flags = parser.parse_args(argv)
    with one_line_errors():
        arrays, _ = read_arrays(flags.file)
        name = flags.model or nearest_model(set(arrays))
        try:
            content = from_timm(arrays, model_keys(name), str(flags.file))
        except UserError as error:
            raise UserError(f"{error}: is it timm's {name} (--model)?") from None
        content.about.update(
            source=f"timm {name}", file=flags.file.name, input_shape=IMAGENET_SHAPE
        )
        with new_file(flags.out, "safetensors") as unfinished:
            write_weights(unfinished, content)
        size = sum(array.size for array in content.arrays.values())
        print(
            f"{flags.out}: {name}, {len(arrays)} arrays, {size:,} parameters, "
            f"{content.num_classes} classes"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
