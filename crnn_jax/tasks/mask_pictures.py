"""Pictures of masks over their images."""

from collections.abc import Sequence

import numpy as np

from crnn_jax.data.decode import to_channels
from crnn_jax.data.fields import IGNORE

# Okabe and Ito 2008, "Color Universal Design", which the colour-blind can tell apart, then the
# seven that are not black at half their brightness. Class 0, most often the background, is black.
_OKABE_ITO = (
    (0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115),
    (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
_DARK = tuple((r // 2, g // 2, b // 2) for r, g, b in _OKABE_ITO[1:])
PALETTE = np.array([*_OKABE_ITO, *_DARK], np.uint8)
_IGNORED = (255, 255, 255)
_SHORTEST = 256  # pixels of a picture's shorter side, at least: small images are enlarged
_OPACITY = 0.6  # the mask's, over the image


def colours(mask_HW: np.ndarray) -> np.ndarray:
    """Returns colours (H, W, 3), uint8: PALETTE[k % 15] for class k, white for IGNORE."""
    colour_HW3 = PALETTE[mask_HW % len(PALETTE)]
    colour_HW3[mask_HW == IGNORE] = _IGNORED
    return colour_HW3


def draw(image_HWC: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the image, and beside it the image under each mask, as one uint8 RGB picture.

    Args:
      image_HWC: uint8, C = 1 or 3.
      masks: (H, W), uint8, classes.
    """
    rgb_HW3 = to_channels(image_HWC, 3)
    panels = [rgb_HW3]
    for mask_HW in masks:
        mixed_HW3 = (1 - _OPACITY) * rgb_HW3 + _OPACITY * colours(mask_HW)
        panels.append(np.round(mixed_HW3).astype(np.uint8))
    picture_HW3 = np.concatenate(panels, axis=1)
    times = -(-_SHORTEST // min(image_HWC.shape[:2]))
    return picture_HW3.repeat(times, axis=0).repeat(times, axis=1)
