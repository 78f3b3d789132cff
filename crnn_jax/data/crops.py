"""Which part of an image is seen: random in training, the centre in evaluation."""

import dataclasses
import functools
import hashlib
import math
import struct
from typing import Literal, Self

import numpy as np
from ml_collections import ConfigDict

from crnn_jax.data.box import Box
from crnn_jax.data.limits import MAX_PIXELS
from crnn_jax.data.splits import Encoded

_TAG = 3  # keeps these random numbers apart from those of the seed's other uses
_ATTEMPTS = 10
_NUMBERS = 2 * _ATTEMPTS + 2
_RATIOS = (3 / 4, 4 / 3)  # width / height


@dataclasses.dataclass(frozen=True)
class Crop:
    """How boxes are chosen; what is in them is then resized to size x size. A `reading.View`.

    Attributes:
      kind: "random_resized" (Szegedy et al. 2015, "Going Deeper with Convolutions", section 6: a
        random share of the area and a random aspect ratio), "paper" (shorter side resized to
        `short_side`, a random square of `size`) or "center" (the same, and the middle square).
      size: pixels.
      short_side: pixels, at least `size`; not used by "random_resized".
      min_area: smallest share of the image's area, in (0, 1]; used by "random_resized".
      seed: decides the random choices.
      max_pixels: an image that declares more is corrupt.
      bit_depth: how many bits samples of 16 bits use (`depth.load`).
    """

    kind: Literal["random_resized", "paper", "center"]
    size: int
    short_side: int
    min_area: float
    seed: int
    max_pixels: int = MAX_PIXELS
    bit_depth: int = 0

    def box(self, epoch: int, example: int, height: int, width: int) -> Box:
        """Returns the part of an image of height x width pixels that is to be seen.

        A function of (seed, epoch, example) and the image's size alone.
        """
        if self.kind == "random_resized":
            return _random_resized(height, width, self.min_area, self._uniform(epoch, example))
        side = min(height, width) * self.size / self.short_side
        vertical = horizontal = 0.5
        if self.kind == "paper":
            vertical, horizontal = self._uniform(epoch, example)[:2]
        return Box(vertical * (height - side), horizontal * (width - side), side, side)

    def decode(
        self, encoded: Encoded, epoch: int, example: int, shape: tuple[int, ...], out: np.ndarray
    ) -> np.ndarray:
        """Returns the box of an encoded image as `shape`, decoded into `out` where that can be."""
        from crnn_jax.data.jpeg import decode_box  # its libraries take a moment to import

        box = functools.partial(self.box, epoch, example)
        height, width, channels = shape
        image_shape = (height, width, channels)
        limits = self.max_pixels, self.bit_depth
        return decode_box(encoded.data, box, image_shape, encoded.name, out, *limits)

    def evaluation(self) -> Self:
        """Returns the crop of evaluation: the same sizes, and the centre."""
        return dataclasses.replace(self, kind="center")

    def _uniform(self, epoch: int, example: int) -> list[float]:
        # A hash, since making a NumPy generator for each image takes several times as long.
        name = struct.pack("<4Q", _TAG, self.seed, epoch, example)
        bits = hashlib.shake_128(name).digest(8 * _NUMBERS)
        return [(word >> 11) * 2.0**-53 for word in struct.unpack(f"<{_NUMBERS}Q", bits)]


def make_crop(config: ConfigDict) -> Crop | None:
    """Returns the training crop of a config; None where images are not cropped as they are read."""
    data = config.data
    if data.crop == "none":
        return None
    short_side = data.short_side or round(data.image_size * 8 / 7)  # 256 for 224
    sizes = (data.image_size, short_side, data.crop_min_area)
    return Crop(data.crop, *sizes, config.seed, data.max_pixels, data.bit_depth)


def _random_resized(height: int, width: int, min_area: float, uniform: list[float]) -> Box:
    """Returns the first of ten random boxes that fits, else the middle of an allowed ratio."""
    low, high = map(math.log, _RATIOS)
    for attempt in range(_ATTEMPTS):
        area = height * width * (min_area + (1 - min_area) * uniform[2 * attempt])
        ratio = math.exp(low + (high - low) * uniform[2 * attempt + 1])
        box_height, box_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < box_height <= height and 0 < box_width <= width:
            top = int(uniform[-2] * (height - box_height + 1))
            left = int(uniform[-1] * (width - box_width + 1))
            return Box(top, left, box_height, box_width)
    box_height = min(height, max(1, round(width / _RATIOS[0])))
    box_width = min(width, max(1, round(height * _RATIOS[1])))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)
