"""Image files of any kind to uint8 arrays, by Pillow."""

import io
import os
import warnings

import numpy as np
from PIL import Image

from crnn_jax.errors import CorruptImageError, UserError

DECODING = 1  # raise it when the pixels change: caches of decoded images are then made again
MAX_PIXELS = 89_478_485  # Pillow's limit: 0.25 GiB of RGB
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
# Pillow only warns up to twice its limit; a filter, because catch_warnings is not thread-safe.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


# Names that folders are searched for; what a file named otherwise holds is not looked at.
EXTENSIONS = tuple(".jpg .jpeg .jfif .png .bmp .gif .webp .tif .tiff .ppm .pgm".split())


def is_image_name(name: str) -> bool:
    """Returns whether a file of this name is taken for an image: by its extension, not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def decode_image(data: bytes | str | os.PathLike, name: str | None = None) -> np.ndarray:
    """Returns image_HWC, uint8 RGB (C = 3), of an encoded image or of an image file.

    Gray is repeated, palettes and CMYK become RGB, transparency is composited on white, 16 bits a
    channel keep their upper 8 (as libpng's strip and Pillow's 16-bit RGB do), EXIF orientation is
    applied, and of an animation the first frame is taken.

    Args:
      data: the file's bytes, or its path.
      name: what an error calls the image; by default the path.

    Raises:
      CorruptImageError: unreadable, truncated, no known format, or more than MAX_PIXELS pixels.
    """
    if name is None:
        name = "image" if isinstance(data, bytes) else os.fspath(data)
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels, at most {MAX_PIXELS}")
            image.load()
            return _rgb(_upright(image))
    except MemoryError:
        raise
    except Image.UnidentifiedImageError:  # its message holds an object's address
        raise CorruptImageError(f"{name}: expected an image, found no known format") from None
    except FileNotFoundError:
        raise CorruptImageError(f"{name}: expected an image, found no such file") from None
    # A damaged file can make Pillow's decoders raise nearly anything.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise CorruptImageError(f"{name}: expected a readable image, found {reason}") from error


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


def match_source(
    image_HWC: np.ndarray, image_shape: tuple[int, int, int], image_size: int, name: str
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
    """Returns whether EXIF does not say that the stored image is to be turned or mirrored."""
    return _orientation(image) not in _TRANSPOSE


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken metadata does not spoil the pixels
        return 1


def _upright(image: Image.Image) -> Image.Image:
    orientation = _orientation(image)
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits; mode I is how Pillow opens some of them
        gray_HW = np.asarray(image)
        if image.mode == "I":
            gray_HW = gray_HW.clip(0, 65535)
        gray_HW = (gray_HW >> 8).astype(np.uint8)
        return np.repeat(gray_HW[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is not known")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


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
