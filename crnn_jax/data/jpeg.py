"""Part of an encoded image, resized; no more of a JPEG is decoded than that part needs.

libjpeg-turbo (simplejpeg) computes 1/2, 1/4 or 1/8 of the pixels straight from the frequencies of a
block where that is fine enough, and stops below the part. All other files, and what is unusual in
a JPEG, go through `decode.decode_image`.
"""

import io
import math
import threading
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from crnn_jax.data import decode, limits
from crnn_jax.data.box import Box
from crnn_jax.data.jpeg_header import PROGRESSIVE, SEQUENTIAL, Header, read_header
from crnn_jax.data.limits import MAX_PIXELS
from crnn_jax.errors import CorruptImageError

# Whole images are what runs in parallel; the threads of one resize would be in each other's way.
cv2.setNumThreads(0)

_UNIT = 16  # rows that are decoded together, at most; those of a box may need some of the next
# A JPEG is decoded to less than twice the resized part in one direction, and the box's ratio is at
# most 4/3: what is shrunk by more than both comes from elsewhere, and bilinear would skip pixels.
_MOST_BILINEAR = 2 * 4 / 3


# A thread decodes all its images into one array, and changes all its files in one: made anew for
# each, of ever other sizes, arrays leave holes in the memory.
_scratch = threading.local()


def decode_box(
    data: bytes | memoryview,
    choose: Callable[[int, int], Box],
    image_shape: tuple[int, int, int],
    name: str,
    out: np.ndarray | None = None,
    max_pixels: int = MAX_PIXELS,
    bit_depth: int = 0,
) -> np.ndarray:
    """Returns image_HWC, uint8 of `image_shape`: the chosen box of an encoded image, resized.

    Bilinear, as TensorFlow's ImageNet pipelines; where it shrinks much, the mean over the area. The
    box is rounded to whole pixels of what is decoded. Colours, transparency and orientation: as
    `decode.decode_image`, whose upright image the box lies in.

    Args:
      data: an image file's bytes.
      choose: (height, width) of the whole image -> the box.
      image_shape: C = 1 or 3.
      name: what an error calls the image.
      out: a contiguous uint8 array of `image_shape`: the result is written there, and is it.
      max_pixels: as in `decode.decode_image`.
      bit_depth: likewise.

    Raises:
      CorruptImageError: as `decode.decode_image`.
    """
    height, width, channels = image_shape
    frame = _usual_frame(data)
    if frame is not None:
        try:
            limits.check_size(frame.width, frame.height, max_pixels)
            if frame.has_scans:
                limits.check_scans(frame.height * frame.width, bytes(data))
        except limits.TooCostlyError as error:
            raise CorruptImageError(f"{name}: expected a readable image, found {error}") from None
        box = choose(frame.height, frame.width)
        finest = min(box.height / height, box.width / width)
        scale = next((n for n in (8, 4, 2) if finest >= n), 1)
        part = _decode_jpeg(data, frame, box, scale, channels)
        if part is not None:
            return _resized(part, box, scale, image_shape, out)
    # No JPEG, an unusual or a broken one: Pillow can read it, or say what is wrong.
    image_HWC = decode.decode_image(bytes(data), name, max_pixels, bit_depth)
    whole = decode.to_channels(image_HWC, channels)
    return _resized(whole, choose(*whole.shape[:2]), 1, image_shape, out)


def _resized(
    image_HWC: np.ndarray,
    box: Box,
    scale: int,
    image_shape: tuple[int, int, int],
    out: np.ndarray | None,
) -> np.ndarray:
    """Resizes the box of an image that is 1/scale of the one in which the box was chosen."""
    out = np.empty(image_shape, np.uint8) if out is None else out
    height, width, _ = image_shape
    top, bottom = _span(box.top / scale, box.height / scale, image_HWC.shape[0])
    left, right = _span(box.left / scale, box.width / scale, image_HWC.shape[1])
    shrinks = max((bottom - top) / height, (right - left) / width)
    method = cv2.INTER_AREA if shrinks > _MOST_BILINEAR else cv2.INTER_LINEAR
    part_HWC = image_HWC[top:bottom, left:right]
    # OpenCV's gray images have two axes; it writes into an array that has the right shape.
    target = out if image_shape[2] == 3 else out[:, :, 0]
    made = cv2.resize(part_HWC, (width, height), dst=target, interpolation=method)
    if not np.may_share_memory(made, out):
        raise AssertionError(f"expected OpenCV to write into {target.shape}, found {made.shape}")
    return out


def _span(start: float, length: float, limit: int) -> tuple[int, int]:
    """Rounds to whole pixels, at least one and all within the limit."""
    count = min(max(1, round(length)), limit)
    first = min(max(0, round(start)), limit - count)
    return first, first + count


def _decode_jpeg(
    data: bytes | bytearray | memoryview, frame: Header, box: Box, scale: int, channels: int
) -> np.ndarray | None:
    """Returns the rows down to the box's last, at 1/scale, HWC; None where they are unreadable.

    They are valid until this thread's next call.
    """
    rows = -(-(round(box.top + box.height) + _UNIT) // _UNIT) * _UNIT
    if rows < frame.height:
        # A lower image is the same but for its height: the decoder leaves the rest unread.
        shorter = _buffer("file", len(data))[: len(data)]
        shorter[:] = np.frombuffer(data, np.uint8)
        shorter[frame.at : frame.at + 2] = divmod(rows, 256)
        data = shorter.data
    rows = min(rows, frame.height)
    shape = (-(-rows // scale), -(-frame.width // scale), channels)
    try:
        image_HWC = simplejpeg.decode_jpeg(
            data,
            "RGB" if channels == 3 else "GRAY",
            min_height=shape[0],
            min_width=shape[1],
            min_factor=scale,
            buffer=_buffer("image", math.prod(shape)),
            strict=False,  # what is left unread is a warning
        )
    except ValueError:
        return None
    return image_HWC if image_HWC.shape == shape else None


def _buffer(name: str, size: int) -> np.ndarray:
    """Returns this thread's array of that name, of `size` bytes or more."""
    array = getattr(_scratch, name, None)
    if array is None or array.size < size:
        array = np.empty(size, np.uint8)
        setattr(_scratch, name, array)
    return array


def _usual_frame(data: bytes | memoryview) -> Header | None:
    """Returns the frame of a JPEG as most are, else None.

    That is: 8 bits, gray or three components, upright, Huffman-coded, and complete: the decoder
    fills what is missing of a truncated file with gray.
    """
    header = read_header(data)
    if header is None or header.kind not in (*SEQUENTIAL, PROGRESSIVE):
        return None
    if header.bits != 8 or header.components not in (1, 3) or not header.height * header.width:
        return None
    if b"\xff\xd9" not in bytes(data[-64:]) or any(_is_turned(data, n) for n in header.notes):
        return None
    return header


def _is_turned(data: bytes | memoryview, note: bytes) -> bool:
    """Returns whether EXIF or XMP says to turn the image, or Pillow cannot open it."""
    if not note.startswith(b"Exif") and b"Orientation" not in note:
        return False
    try:
        with Image.open(io.BytesIO(data)) as image:
            return not decode.is_upright(image)
    except Exception:  # whatever it is: the other path says it
        return True
