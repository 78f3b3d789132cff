"""Frames of a clip: how a batch tells clips from still images, and how models read the frames."""

import math
from collections.abc import Callable

import jax

Array = jax.Array


def is_clip(pixels: Array) -> bool:
    """Returns whether the batch is of clips (B, F, H, W, C), not of still images (B, H, W, C)."""
    return pixels.ndim == 5


def over_frames(features: Callable[[Array], Array], video_BFHWC: Array) -> Array:
    """Returns `features` of every frame, (B, F, D): frames are folded into the batch and back."""
    batch, num_frames = video_BFHWC.shape[:2]
    folded = video_BFHWC.reshape(batch * num_frames, *video_BFHWC.shape[2:])
    feature_ND = features(folded)
    return feature_ND.reshape(batch, num_frames, math.prod(feature_ND.shape[1:]))


def middle_frame(video_BFHWC: Array) -> Array:
    """Returns image_BHWC, frame F // 2 of each clip, counted from 0."""
    return video_BFHWC[:, video_BFHWC.shape[1] // 2]
