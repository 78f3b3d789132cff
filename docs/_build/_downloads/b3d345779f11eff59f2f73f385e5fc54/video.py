"""Video classification: one class a clip; top-1 accuracy."""

import dataclasses
from typing import ClassVar

from crnn_jax.tasks.classification import Classification


@dataclasses.dataclass(frozen=True)
class Video(Classification):
    """`Classification` whose pixels are clips (B, F, H, W, C).

    All frames of a clip are augmented alike, to the pixel: they have one placement, one cut-out
    square, one operation on the colours, one neighbour to be mixed with.
    """

    pixels: ClassVar[str] = "clip"
