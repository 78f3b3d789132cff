"""Image files of any kind to uint8 arrays, by Pillow."""

import contextlib
import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from crnn_jax.data import depth, limits, pixels
from crnn_jax.data.jpeg_header import read_header
from crnn_jax.data.limits import MAX_PIXELS
from crnn_jax.errors import CorruptImageError, UserError

DECODING = 2  # raise it when the pixels change: caches of decoded images are then made again
# What Pillow may take a file for; others can run programs (EPS) or have no limits (limits.py). It
# tries them in order, and imports most of its modules for the last three alone.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "WEBP", "TIFF", "AVIF")
_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {  # EXIF orientation -> what makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What it says of damaged metadata besides would be further lines on stderr.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
# Pillow only warns up to twice its limit; a filter, because catch_warnings is not thread-safe.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


# Names that folders are searched for; what a file named otherwise holds is not looked at.
EXTENSIONS = tuple(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .bmp .dib .gif .webp .avif .tif .tiff .ppm .pgm .pbm "
    ".pnm".split()
)


def is_image_name(name: str) -> bool:
    """Returns whether a file of this name is taken for an image: by its extension, not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def decoding(data_config: Any) -> Any:
    """Returns what decoded images depend on beside the files, for a fingerprint.

    That is their pixels, and which of them are corrupt. What is the default is left out, as before
    there was the key: caches stay valid.
    """
    bit_depth, max_pixels = data_config.bit_depth, data_config.max_pixels
    if max_pixels != MAX_PIXELS:
        return [DECODING, bit_depth, max_pixels]
    return [DECODING, bit_depth] if bit_depth else DECODING


def decode_image(
    data: bytes | str | os.PathLike,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    bit_depth: int = 0,
) -> np.ndarray:
    """Returns image_HWC, uint8 RGB (C = 3), of an encoded image or of an image file.

    Gray is repeated, palettes and CMYK become RGB, transparency is composited on white, more than 8
    bits a channel keep their upper 8 (as libpng's strip and Pillow's 16-bit RGB do), or the upper 8
    of `bit_depth`, the orientation of EXIF, or else of XMP, is applied, and of an animation the
    first frame is taken.

    Args:
      data: the file's bytes, or its path.
      name: what an error calls the image; by default the path.
      max_pixels: more than these are refused before they are decoded; at most MAX_PIXELS.
      bit_depth: bits of a sample of 16 that count, 9 to 16; 0: all (`depth.load`).

    Raises:
      CorruptImageError: unreadable, truncated, no known format, more than `max_pixels` pixels or
        than the limits of `limits`, or a sample beyond `bit_depth`.
      UserError: there is no memory for it.
    """
    with opened(data, name, max_pixels) as (image, encoded):
        depth.load(image, encoded, bit_depth)
        return pixels.rgb(_upright(pixels.corrected(image, encoded)))


@contextlib.contextmanager
def opened(
    data: bytes | str | os.PathLike, name: str | None, max_pixels: int
) -> Iterator[tuple[Any, bytes]]:
    """Opens an encoded image, or an image file, and checks what loading it may cost.

    The block gets the image, not loaded, and its file's bytes. What it raises is of the image, too.

    Raises:
      CorruptImageError, UserError: see `decode_image`, which has the arguments, too.
    """
    if name is None:
        name = "image" if isinstance(data, bytes) else os.fspath(data)
    try:
        encoded = data if isinstance(data, bytes) else read_file(data)
        limits.check_header(encoded, max_pixels)
        header = read_header(encoded)  # a JPEG has few parts, which need not be counted
        file = limits.Metered(encoded) if header is None else io.BytesIO(encoded)
        with Image.open(file, formats=_FORMATS) as image:
            limits.check_image(image, encoded, max_pixels, header)
            yield image, encoded
    except UserError:
        raise
    except MemoryError as error:
        raise _no_memory(name, error) from None
    except Image.UnidentifiedImageError:  # its message holds an object's address
        raise CorruptImageError(f"{name}: expected an image, found no known format") from None
    except FileNotFoundError:
        raise CorruptImageError(f"{name}: expected an image, found no such file") from None
    except limits.TooCostlyError as error:
        raise CorruptImageError(f"{name}: expected a readable image, found {error}") from None
    except depth.BeyondDepthError as error:
        raise CorruptImageError(f"{name}: {error}") from None
    # A damaged file can make Pillow's decoders raise nearly anything.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise CorruptImageError(f"{name}: expected a readable image, found {reason}") from error


def read_file(path: str | os.PathLike) -> bytes:
    """Returns the bytes of an image file.

    Raises:
      TooCostlyError: there are more than a decoder may use.
      OSError: it cannot be read, or is no file: a pipe could be waited for without end.
    """
    with open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("no file")
        if status.st_size > limits.MAX_BYTES:
            raise limits.TooCostlyError(
                f"a file of {status.st_size} bytes, at most {limits.MAX_BYTES}"
            )
        return file.read()


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _no_memory(name: str, error: MemoryError) -> UserError:
    """Returns what to say of a MemoryError: where there is memory, the file is corrupt."""
    try:
        np.empty(limits.MAX_BYTES, np.uint8)
    except MemoryError:
        return UserError(
            f"{name}: expected {limits.MAX_BYTES // 2**20} MiB of memory to decode an image, found "
            "less; free some, or lower config key 'data.num_workers'"
        )
    return CorruptImageError(
        f"{name}: expected a readable image, found that it needs too much memory {error}".rstrip()
    )


def resize_and_crop(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """Returns the centre of `image_HWC` as (size, size, C): shorter side to `size`, then cropped.

    Antialiased bilinear. The crop is centred to a fraction of a pixel, and what it cuts away is
    never resized, so that a very long image needs no memory for it.

    Args:
      image_HWC: uint8, C = 1 or 3.
      size: pixels, at least 1.
    """
    return _fit(image_HWC, size, size)


def to_shape(image_HWC: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Returns `image_HWC` (uint8, C = 1 or 3) with the channels and size of `image_shape`.

    RGB becomes gray by ITU-R 601 luma, gray becomes RGB by repetition; the largest centred part of
    the wanted aspect ratio is resized as in `resize_and_crop`.
    """
    height, width, channels = image_shape
    return _fit(to_channels(image_HWC, channels), height, width)


def fit_map(map_HW: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the part of `map_HW` (uint8) that `to_shape` shows of its image, (height, width).

    Each new pixel has the value of the old one that its centre lies in.
    """
    return _fit(map_HW[:, :, None], height, width, Image.Resampling.NEAREST)[:, :, 0]


def sides(image_size: int | tuple[int, int]) -> tuple[int, int] | None:
    """Returns (H, W) of config key `data.image_size`; None for 0, images as they are stored."""
    if isinstance(image_size, int):
        return (image_size, image_size) if image_size else None
    height, width = image_size
    return height, width


def match_source(
    image_HWC: np.ndarray, image_shape: tuple[int, int, int], image_size: Any, name: str
) -> np.ndarray:
    """Returns `image_HWC` with its source's image_shape; image_size 0 allows no resizing.

    Raises:
      UserError: another size than image_shape, and image_size 0.
    """
    if image_size == 0 and image_HWC.shape[:2] != image_shape[:2]:
        (height, width), (found_height, found_width) = image_shape[:2], image_HWC.shape[:2]
        raise UserError(
            f"{name}: expected {height}x{width} pixels as in the first image, found "
            f"{found_height}x{found_width}; set config key 'data.image_size' to resize all images"
        )
    return to_shape(image_HWC, image_shape)


def is_upright(image: Image.Image) -> bool:
    """Returns whether neither EXIF nor XMP says to turn or mirror the stored image."""
    return _orientation(image) not in _TRANSPOSE


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken metadata does not spoil the pixels
        return 1


def _upright(image: Image.Image) -> Image.Image:
    orientation = _orientation(image)
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def to_channels(image_HWC: np.ndarray, channels: int) -> np.ndarray:
    """Returns `image_HWC` (uint8, C = 1 or 3) as gray (ITU-R 601 luma) or as RGB (repeated)."""
    if image_HWC.shape[2] == channels:
        return image_HWC
    if channels == 1:
        return np.array(Image.fromarray(image_HWC).convert("L"))[:, :, None]
    return np.repeat(image_HWC, channels, axis=2)


def _fit(
    image_HWC: np.ndarray,
    height: int,
    width: int,
    resampling: Image.Resampling = Image.Resampling.BILINEAR,
) -> np.ndarray:
    source_height, source_width, channels = image_HWC.shape
    if (source_height, source_width) == (height, width):
        return image_HWC
    box_width = min(source_width, source_height * width / height)
    box_height = min(source_height, source_width * height / width)
    left, top = (source_width - box_width) / 2, (source_height - box_height) / 2
    image = Image.fromarray(image_HWC[:, :, 0] if channels == 1 else image_HWC)
    resized = image.resize(
        (width, height),
        resampling,
        box=(left, top, left + box_width, top + box_height),
    )
    return np.array(resized).reshape(height, width, channels)
