"""Samples of 16 bits of which fewer count: microscopes and X-ray detectors store 12 in them."""

import re
import sys
from typing import Any

import numpy as np
from PIL import Image

from crnn_jax.data import limits

_BITS, _PLANES = 258, 284  # tags of TIFF 6.0
_BAND = 2**18  # pixels that are joined at a time: what lies between needs no memory of its own
_COLOUR_BYTES_PER_PIXEL = 14  # two images of 4, and a TIFF's strip of 6
_COLOURS = re.compile(r"(RGBA|RGBX|RGB|LA);16([BLN])")  # what Pillow calls them
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class BeyondDepthError(ValueError):
    """A sample is greater than its bits allow; the message says which and what was expected."""


def load(image: Any, data: bytes, bit_depth: int) -> None:
    """Loads an opened image; where its samples have 16 bits, `bit_depth` of them fill these then.

    That is a PNG's or a TIFF's, gray or of colour; an alpha channel has all 16. Other images, as a
    PGM, whose file names its largest sample, or a TIFF of 12 bits, are loaded as they are.

    Args:
      image: Pillow's, opened and not loaded.
      data: the file that it was opened from.
      bit_depth: 0 or 16: all bits count.

    Raises:
      BeyondDepthError: a sample is 2**bit_depth or more.
      ValueError: samples of 16 bits in an order or a colour space that this cannot read.
      TooCostlyError: colours take too much memory.
    """
    if bit_depth in (0, 16) or not _has_16_bits(image, data):
        image.load()
        return
    raw, tags = _raw_mode(image), getattr(image, "tag_v2", {})
    image.load()
    if image.mode == "I":  # signed: `pixels.corrected` says so
        return
    if raw.startswith("I;16"):
        sample_HW = np.asarray(image)
        check(sample_HW, bit_depth)
        image.frombytes((sample_HW << (16 - bit_depth)).astype(sample_HW.dtype).tobytes())
    elif _COLOURS.fullmatch(raw) and tags.get(_PLANES, 1) == 1:
        _scale_colours(image, data, raw, bit_depth)
    else:
        raise ValueError(
            f"16 bits as {raw or 'planes'}, with config key 'data.bit_depth' {bit_depth}: save it "
            "as gray, RGB or RGBA"
        )
    _scale_transparency(image.info, bit_depth)


def check(sample: np.ndarray, bit_depth: int) -> None:
    """Raises BeyondDepthError for samples of more than `bit_depth` bits."""
    most, found = 2**bit_depth - 1, int(sample.max(initial=0))
    if found > most:
        raise BeyondDepthError(
            f"expected samples of at most {most} (config key 'data.bit_depth' {bit_depth}), found "
            f"{found}, which has {found.bit_length()} bits"
        )


def _has_16_bits(image: Any, data: bytes) -> bool:
    if image.format == "PNG":
        return len(data) > 24 and data[24] == 16
    return image.format == "TIFF" and 16 in np.ravel(image.tag_v2.get(_BITS, 1))


def _raw_mode(image: Any) -> str:
    """Returns how the samples lie in the file; an image that is loaded has forgotten it."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _scale_colours(image: Any, data: bytes, raw: str, bit_depth: int) -> None:
    """Puts the upper 8 of `bit_depth` bits in the place of the upper 8 of 16, which Pillow keeps.

    The lower 8 are those that it keeps of a file whose bytes lie the other way round.
    """
    size = image.width, image.height
    limits.check_memory(image.format, *size, len(data), _COLOUR_BYTES_PER_PIXEL)
    colours, order = raw.split(";16")
    is_gray = colours == "LA"  # Pillow has no other order of it, but its four bytes as they are
    other: Any = "RGBA" if is_gray else f"{colours};16{_OTHER_BYTE[order]}"
    low: Any
    with Image.open(limits.Metered(data), formats=(image.format,)) as low:
        low.tile = [tile._replace(args=_with_raw_mode(tile.args, other)) for tile in low.tile]
        low.load()
        rows = max(1, _BAND // max(1, image.width))
        for top in range(0, image.height, rows):
            box = (0, top, image.width, min(top + rows, image.height))
            band_HWC, lower_HWC = (np.array(part.crop(box)) for part in (image, low))
            lower_HW3 = lower_HWC[:, :, 1:2] if is_gray else lower_HWC[:, :, :3]
            sample_HW3 = band_HWC[:, :, :3].astype(np.uint16) << 8 | lower_HW3
            check(sample_HW3, bit_depth)
            band_HWC[:, :, :3] = sample_HW3 >> (bit_depth - 8)
            image.paste(Image.fromarray(band_HWC), box)


def _with_raw_mode(args: Any, raw: str) -> Any:
    return (raw, *args[1:]) if isinstance(args, tuple) else raw


def _scale_transparency(info: dict[Any, Any], bit_depth: int) -> None:
    """Moves the transparent colour of a PNG as its samples were; one beyond them has no pixel."""
    colour, shift = info.get("transparency"), 16 - bit_depth
    if colour is None:
        return
    if np.max(colour) >= 2**bit_depth:
        del info["transparency"]
    elif isinstance(colour, int):
        info["transparency"] = colour << shift
    else:
        info["transparency"] = tuple(sample << shift for sample in colour)
