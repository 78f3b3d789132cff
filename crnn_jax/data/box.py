"""A part of an image."""

from typing import NamedTuple


class Box(NamedTuple):
    """A part of an image, in pixels of the whole; not empty, and within the image."""

    top: float
    left: float
    height: float
    width: float
