"""Pictures of masks over their images."""

from collections.abc import Mapping, Sequence

import numpy as np

from crnn_jax.data.decode import to_channels
from crnn_jax.data.fields import IGNORE
from crnn_jax.tasks.task import Panels

# Okabe and Ito 2008, "Color Universal Design", which the colour-blind can tell apart, then the
# seven that are not black at half their brightness and halfway to white. Class 0, most often the
# background, is black; no other class is.
_OKABE_ITO = (
    (0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115),
    (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
_DARK = tuple((r // 2, g // 2, b // 2) for r, g, b in _OKABE_ITO[1:])
_LIGHT = tuple(((r + 256) // 2, (g + 256) // 2, (b + 256) // 2) for r, g, b in _OKABE_ITO[1:])
PALETTE = np.array([*_OKABE_ITO, *_DARK, *_LIGHT], np.uint8)
_COLOUR_OF = PALETTE[[0, *(1 + k % (len(PALETTE) - 1) for k in range(IGNORE))]]  # of a mask's value
_COLOUR_OF[IGNORE] = (255, 255, 255)
_SHORTEST = 256  # pixels of a picture's shorter side, at least: small images are enlarged
_OPACITY = 0.6  # the mask's, over the image


def colours(mask_HW: np.ndarray) -> np.ndarray:
    """Returns colours (H, W, 3), uint8: PALETTE[k] for class k, white for IGNORE.

    Where the palette ends, its colours but the black come again.
    """
    return _COLOUR_OF[mask_HW]


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


def make_panels(
    image_HWC: np.ndarray, masks: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> Panels:
    """Returns the image and each mask alone, in the very colours that the legend names.

    Args:
      image_HWC: uint8, C = 1 or 3.
      masks: (H, W), uint8, classes, by their titles; K and above are ignored.
      class_names: K. The legend has those that are in a mask.
    """
    pictures, legend = {"image": to_channels(image_HWC, 3)}, {}
    for title, mask_HW in masks.items():
        known_HW = np.where(mask_HW < len(class_names), mask_HW, IGNORE)
        pictures[title] = colours(known_HW)
        for k in map(int, np.unique(known_HW)):
            red, green, blue = _COLOUR_OF[k].tolist()
            name = class_names[k] if k < len(class_names) else "(ignored)"
            name = name if name.strip() else f"class {k}"
            legend[k] = name, (red, green, blue)
    return Panels(pictures, legend)
