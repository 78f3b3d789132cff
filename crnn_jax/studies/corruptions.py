"""Images made worse in six ways and five strengths: pure functions of pixels, strength and example.

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations". Noise, blur, contrast, brightness and JPEG have the sizes of their programs:
CIFAR-10-C's for images of at most 64 pixels a side, ImageNet-C's for larger ones. A shift is none
of their corruptions; the others of theirs are left out.
"""

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

SMALL_SIDE = 64  # pixels, up to which an image has CIFAR-10-C's sizes
STRENGTHS = (1, 2, 3, 4, 5)


class Corruption(NamedTuple):
    """One way of making images worse.

    Attributes:
      apply: (image_HWC in 0..1 float64, size, random numbers) -> the same, unclipped.
      small: sizes of the strengths 1 to 5 for small images.
      large: for larger ones.
      unit: what a size is measured in.
    """

    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    small: tuple[float, ...]
    large: tuple[float, ...]
    unit: str


def noise(image_HWC: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """Returns the image with Gaussian noise added to each channel of each pixel."""
    return image_HWC + random.normal(scale=size, size=image_HWC.shape)


def blur(image_HWC: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """Returns the image blurred by a Gaussian; the nearest pixel continues it at its edges."""
    del random
    return ndimage.gaussian_filter(image_HWC, (size, size, 0), mode="nearest")


def contrast(image_HWC: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """Returns the image with its differences from each channel's mean scaled."""
    del random
    mean_C = image_HWC.mean(axis=(0, 1))
    return (image_HWC - mean_C) * size + mean_C


def brightness(image_HWC: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """Returns the image with its value (of hue, saturation and value) raised, at most to 1."""
    del random
    value_HW1 = image_HWC.max(axis=-1, keepdims=True)
    raised_HW1 = np.minimum(value_HW1 + size, 1.0)
    # Hue and saturation stay as they are if all channels have the same factor; black has neither.
    safe_HW1 = np.where(value_HW1 > 0, value_HW1, 1.0)
    return np.where(value_HW1 > 0, image_HWC * raised_HW1 / safe_HW1, raised_HW1)


def shift(image_HWC: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """Returns the image moved along both sides, each way by chance.

    By a share `size` of each side, rounded up to whole pixels; the edge pixels continue it.
    """
    moved = image_HWC
    for axis in (0, 1):
        length = image_HWC.shape[axis]
        offset = math.ceil(size * length) * (1 if random.random() < 0.5 else -1)
        moved = np.take(moved, np.clip(np.arange(length) - offset, 0, length - 1), axis=axis)
    return moved


def jpeg(image_HWC: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """Returns the image as it is after JPEG compression of quality `size`, by Pillow."""
    del random
    channels = image_HWC.shape[-1]
    pixels = np.rint(image_HWC * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(
        buffer, "JPEG", quality=int(size)
    )
    with Image.open(buffer) as image:
        return np.asarray(image, np.float64).reshape(image_HWC.shape) / 255


CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption(
        noise, (0.04, 0.06, 0.08, 0.09, 0.1), (0.08, 0.12, 0.18, 0.26, 0.38),
        "standard deviation, of 0..1",
    ),
    "blur": Corruption(
        blur, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6), "standard deviation, pixels"
    ),
    "contrast": Corruption(
        contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05), "factor"
    ),
    "brightness": Corruption(
        brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5), "added, of 0..1"
    ),
    "shift": Corruption(
        shift, (1 / 16, 1 / 8, 3 / 16, 1 / 4, 5 / 16), (1 / 16, 1 / 8, 3 / 16, 1 / 4, 5 / 16),
        "share of each side",
    ),
    "JPEG": Corruption(jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7), "quality"),
}  # fmt: skip


def sizes_of(name: str, height: int, width: int) -> tuple[float, ...]:
    """Returns the sizes of the strengths 1 to 5 for images of these sides."""
    corruption = CORRUPTIONS[name]
    return corruption.small if max(height, width) <= SMALL_SIDE else corruption.large


def corrupt(image_HWC: np.ndarray, name: str, strength: int, example: int) -> np.ndarray:
    """Returns the uint8 image made worse; the same for the same arguments.

    Args:
      image_HWC: uint8, C = 1 or 3.
      name: one of `CORRUPTIONS`.
      strength: 1 to 5.
      example: its number, from which its random numbers are made.
    """
    size = sizes_of(name, *image_HWC.shape[:2])[strength - 1]
    random = np.random.default_rng((example, strength, list(CORRUPTIONS).index(name)))
    worse = CORRUPTIONS[name].apply(image_HWC / 255.0, size, random)
    return np.rint(np.clip(worse, 0.0, 1.0) * 255).astype(np.uint8)
