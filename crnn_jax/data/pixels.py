"""What Pillow has loaded, to 8-bit RGB on white."""

from typing import Any

import numpy as np
from PIL import Image

_BAND = 2**20  # pixels that are converted at a time: what lies between needs no memory of its own
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
_SIGNED = 2


def corrected(image: Image.Image, data: bytes) -> Image.Image:
    """Returns a loaded image whose pixels and transparent colour mean what Pillow takes them for.

    PNG's transparent colour has the depth of the file (Third Edition, 11.3.1.1 tRNS), and Pillow
    compares it with pixels of 8 bits. Of 16 bits a channel, RGB's lower 8 are gone by then: the
    upper 8 are compared. Pillow leaves a TIFF's 12 bits as they are, and white as 0 in 16 bits.

    Args:
      image: loaded.
      data: the file that it was loaded from.

    Raises:
      ValueError: a TIFF's numbers are signed or of 32 bits, so that black and white are not known.
    """
    if image.format == "PNG" and len(data) > 24:
        _correct_transparency(image.info, depth=data[24])
    tags: Any = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return image
    if image.mode == "I" or _SIGNED in np.ravel(tags.get(_SAMPLE_FORMAT, 1)):
        raise ValueError("signed or 32-bit pixels, whose range is not known")
    if image.mode.startswith("I;16"):
        depth, white_is_zero = int(np.ravel(tags.get(_BITS, 16))[0]), tags.get(_PHOTOMETRIC) == 0
        if depth != 16 or white_is_zero:
            gray_HW = np.asarray(image).astype(np.uint16) << (16 - depth)
            return Image.fromarray(gray_HW ^ 0xFFFF if white_is_zero else gray_HW)
    return image


def _correct_transparency(info: dict[Any, Any], depth: int) -> None:
    colour = info.get("transparency")
    if isinstance(colour, tuple):  # RGB, else a palette's bytes or a number
        info["transparency"] = tuple(c >> 8 if depth == 16 else c & 255 for c in colour)
    elif isinstance(colour, int) and depth in (2, 4):
        most = 2**depth - 1
        info["transparency"] = (colour & most) * 255 // most
    elif isinstance(colour, int) and depth == 8:
        info["transparency"] = colour & 255


def rgb(image: Image.Image) -> np.ndarray:
    """Returns image_HWC, uint8 (C = 3): transparency composited on white, 16 bits to 8."""
    width, height = image.size
    rows = max(1, _BAND // max(1, width))
    if rows >= height:
        return _rgb(image)
    out_HWC = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        out_HWC[top:bottom] = _rgb(image.crop((0, top, width, bottom)))
    return out_HWC


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits; mode I is how Pillow opens some of them
        gray_HW = np.asarray(image)
        if image.mode == "I":
            gray_HW = gray_HW.clip(0, 65535)
        upper_HW = (gray_HW >> 8).astype(np.uint8)
        if "transparency" in image.info:  # the one gray that stands for it
            upper_HW[gray_HW == image.info["transparency"]] = 255
        return np.repeat(upper_HW[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is not known")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
