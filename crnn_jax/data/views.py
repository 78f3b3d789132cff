"""The part of each example that a run decodes, by its config."""

import dataclasses
from typing import Self

import numpy as np
from ml_collections import ConfigDict

from crnn_jax.data.crops import make_crop
from crnn_jax.data.decode import decode_image, to_shape
from crnn_jax.data.frames import Frames
from crnn_jax.data.reading import View
from crnn_jax.data.splits import Encoded
from crnn_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Whole:
    """All of an image, as the sources of images decode it. A `reading.View`.

    Attributes:
      max_pixels: an image that declares more is corrupt.
      bit_depth: how many bits samples of 16 bits use (`depth.load`).
    """

    max_pixels: int
    bit_depth: int
    kind = "whole"

    def decode(
        self, encoded: Encoded, epoch: int, example: int, shape: tuple[int, ...], out: np.ndarray
    ) -> np.ndarray:
        """Returns an encoded image as `shape`."""
        del epoch, example, out
        data, (height, width, channels) = bytes(encoded.data), shape
        image_HWC = decode_image(data, encoded.name, self.max_pixels, self.bit_depth)
        return to_shape(image_HWC, (height, width, channels))

    def evaluation(self) -> Self:
        """Returns the same view."""
        return self


def make_view(config: ConfigDict) -> View | None:
    """Returns the view of a run that a prediction's files are seen in; None: whole, as they are.

    Raises:
      UserError: as `training_view`.
    """
    view, data = training_view(config), config.data
    if view is None and data.bit_depth:
        return Whole(data.max_pixels, data.bit_depth)
    return view


def training_view(config: ConfigDict) -> View | None:
    """Returns the view of training; None where examples are decoded as their source gives them.

    Raises:
      UserError: a crop of videos, or random frames of anything else or of resident data.
    """
    data = config.data
    is_video = data.source.startswith("video:")
    if is_video and data.crop != "none":
        raise UserError(
            f"config key 'data.crop' expects 'none' for the videos of '{data.source}', found "
            f"'{data.crop}'"
        )
    if data.frames == "center":
        return make_crop(config)
    if not is_video:
        raise UserError(
            f"config key 'data.frames' is '{data.frames}': set 'data.source' to video:PATH, found "
            f"'{data.source}', or it to 'center'"
        )
    if data.pipeline != "streaming":
        raise UserError(
            f"config key 'data.frames' is '{data.frames}', other frames of each video in each "
            f"epoch: set 'data.pipeline' to 'streaming', found '{data.pipeline}'"
        )
    return Frames(data.frames, config.seed, data.max_pixels)
