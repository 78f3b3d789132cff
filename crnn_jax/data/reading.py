"""Reads several examples of a split into arrays, with blanks where an image is unreadable."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from crnn_jax.errors import CorruptImageError, UserError

if TYPE_CHECKING:
    from crnn_jax.data.crops import Crop
    from crnn_jax.data.sources import Encoded, Split


_ALIGNMENT = 64  # bytes: a CPU "device" of JAX takes an array that starts there without a copy


@dataclasses.dataclass(frozen=True)
class Examples:
    """Decoded examples: uint8 images, int32 labels, and float32 weights, 0 where unreadable."""

    image_NHWC: np.ndarray
    label_N: np.ndarray
    weight_N: np.ndarray

    @property
    def num_corrupt(self) -> int:
        """How many images were unreadable."""
        return int(np.sum(self.weight_N == 0))


def unread(
    num_examples: int, image_shape: tuple[int, int, int], image_NHWC: np.ndarray | None = None
) -> Examples:
    """Returns room for images of `image_shape`, whatever it holds, with label 0 and weight 0.

    `image_NHWC`, where given, is that room.
    """
    if image_NHWC is None:
        size = num_examples * math.prod(image_shape)
        memory = np.empty(size + _ALIGNMENT, np.uint8)
        first = -memory.ctypes.data % _ALIGNMENT
        image_NHWC = memory[first : first + size].reshape(num_examples, *image_shape)
    return Examples(
        image_NHWC, np.zeros(num_examples, np.int32), np.zeros(num_examples, np.float32)
    )


def image_shape(split: "Split", skip_corrupt: bool) -> tuple[int, int, int]:
    """Returns (H, W, C) of the first image of `split` that can be read.

    Raises:
      CorruptImageError: the first image is unreadable, without `skip_corrupt`.
      UserError: with it, all are.
    """
    for index in range(split.num_examples):
        try:
            height, width, channels = split.read(index)[0].shape
        except CorruptImageError as error:
            if not skip_corrupt:
                raise _with_advice(error) from None
        else:
            return height, width, channels
    raise UserError(
        f"split '{split.name}' expects readable images, found {split.num_examples} unreadable; "
        "check 'data.source'"
    )


def read_into(
    examples: Examples, split: "Split", indices: Iterable[int], skip_corrupt: bool, start: int = 0
) -> None:
    """Reads the examples `indices` of `split` into the rows of `examples` from `start` on.

    With `skip_corrupt`, an unreadable image is black and its weight stays 0.

    Raises:
      CorruptImageError: an image is unreadable, without `skip_corrupt`.
      UserError: an image has another shape than the first.
    """
    indices = [int(index) for index in indices]
    found = split.read_many(indices)
    _fill(examples, split.name, zip(indices, found, strict=True), skip_corrupt, start)


def crop_into(
    examples: Examples,
    split: "Split",
    epoch_B: Iterable[int],
    index_B: Iterable[int],
    crop: "Crop",
    skip_corrupt: bool,
) -> None:
    """Reads a part of each example into the first rows of `examples`, as `read_into`.

    Only that part is decoded, where the format allows. It is a function of the crop's seed, the
    epoch and the example's index.
    """
    assert split.encoded is not None, "the pipeline checks this when it is made"
    indices = [int(index) for index in index_B]
    found = _cropped(split.encoded(indices), epoch_B, indices, crop, examples.image_NHWC)
    _fill(examples, split.name, zip(indices, found, strict=True), skip_corrupt, 0)


def _cropped(
    encoded: "Iterable[Encoded | CorruptImageError]",
    epoch_B: Iterable[int],
    index_B: Iterable[int],
    crop: "Crop",
    image_NHWC: np.ndarray,
) -> Iterator[tuple[np.ndarray, int] | CorruptImageError]:
    """Yields (image, label) of each example; the image is written to its row of `image_NHWC`."""
    from crnn_jax.data.jpeg import decode_box  # its libraries take a moment to import

    shape = image_NHWC.shape[1:]
    triples = zip(encoded, epoch_B, index_B, strict=True)
    for row, (found, epoch, index) in enumerate(triples):
        if isinstance(found, CorruptImageError):
            yield found
            continue
        box = functools.partial(crop.box, int(epoch), index)
        try:
            out = image_NHWC[row]
            yield decode_box(found.data, box, shape, found.name, out), found.label
        except CorruptImageError as error:
            yield error


def _fill(
    examples: Examples,
    name: str,
    results: Iterable[tuple[int, tuple[np.ndarray, int] | CorruptImageError]],
    skip_corrupt: bool,
    start: int,
) -> None:
    expected = examples.image_NHWC.shape[1:]
    for row, (index, found) in enumerate(results, start):
        if isinstance(found, CorruptImageError):
            if not skip_corrupt:
                raise _with_advice(found)
            examples.image_NHWC[row] = 0
            continue
        image_HWC, label = found
        if image_HWC.shape != expected:
            raise UserError(
                f"example {index} of split '{name}' expects an image of shape {expected}, "
                f"found {image_HWC.shape}; set 'data.image_size' to bring all to one size"
            )
        if not np.may_share_memory(image_HWC, examples.image_NHWC[row]):  # else written there
            examples.image_NHWC[row] = image_HWC
        examples.label_N[row] = label
        examples.weight_N[row] = 1.0


def _with_advice(error: CorruptImageError) -> CorruptImageError:
    return CorruptImageError(f"{error}; repair or remove it, or set 'data.skip_corrupt' to True")
