"""What decoding an image may cost, checked by what its file declares before it is decoded.

A file of a few hundred bytes can declare pixels for gigabytes, or work for minutes. Every limit is
on counts and never on seconds: whether an image is readable does not depend on the machine's load.
They keep an image within 1 GiB and, on a core of today, within 5 seconds.
"""

import io
import struct
from typing import Any

from PIL import Image

from crnn_jax.data.jpeg_header import Header

MAX_PIXELS = 89_478_485  # Pillow's own limit
MAX_BYTES = 2**30  # memory that a decoder may use, the file included
_MAX_SIDE = 2**24  # Pillow's decoders multiply it by up to 64 bits, in 32 bits
_MAX_READS = 2**19  # calls: Pillow reads a chunk, segment or run at a time, in Python
_MAX_VALUES = 2**18  # numbers in a TIFF's tag, such as the offsets of its strips
_MAX_PIXEL_SCANS = 10**9  # a progressive JPEG passes over all of its pixels in every scan
_MAX_PYTHON_PIXELS = 2**21  # where Pillow decodes in Python
_PYTHON_DECODERS = ("ppm", "ppm_plain", "bmp_rle")
_START_OF_SCAN = b"\xff\xda"  # cannot be part of a JPEG's compressed data

_MAX_COMPRESSED = 2**28  # bytes of a file whose every bit takes work
_UNCOMPRESSED = ("BMP", "DIB", "PPM", "TIFF")
# Most memory that Pillow takes, bytes a pixel, as measured, and more for what was not.
_BYTES_PER_PIXEL = {"WEBP": 18, "AVIF": 20}
_LEAST_BYTES_PER_PIXEL = 11  # an image of 4, the same turned upright, and the result of 3
_CMYK_JPEG_BYTES_PER_PIXEL = 13  # its coefficients of 16 bits, beside an image of 4
_TIFF_WIDTHS = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class TooCostlyError(ValueError):
    """Decoding would cost too much; the message says what of."""


class Metered(io.BytesIO):
    """The bytes of a file, which can be read a limited number of times."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Returns up to `size` bytes."""
        self._reads += 1
        if self._reads > _MAX_READS:
            raise TooCostlyError(f"more than {_MAX_READS} parts")
        return super().read(size)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises TooCostlyError for too many pixels, or a side that no decoder can count."""
    if width * height > max_pixels:
        raise TooCostlyError(f"{width}x{height} pixels, at most {max_pixels} ('data.max_pixels')")
    if max(width, height) > _MAX_SIDE:
        raise TooCostlyError(f"{width}x{height} pixels, at most {_MAX_SIDE} a side")


def check_scans(pixels: int, data: bytes) -> None:
    """Raises TooCostlyError for a JPEG of several scans whose pixels are passed over too often."""
    scans = data.count(_START_OF_SCAN)
    if pixels * scans > _MAX_PIXEL_SCANS:
        raise TooCostlyError(f"a JPEG of {pixels} pixels in {scans} scans")


def check_header(data: bytes, max_pixels: int) -> None:
    """Raises TooCostlyError for what Pillow would do already when it opens the file."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        size = _webp_size(data)
        if size is not None:
            check_size(*size, max_pixels)
            check_memory("WEBP", *size, len(data), _BYTES_PER_PIXEL["WEBP"])
    elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiff(data)


def check_image(
    image: Image.Image, data: bytes, max_pixels: int, header: Header | None = None
) -> None:
    """Raises TooCostlyError for an opened image that is not to be loaded.

    Args:
      image: opened.
      data: the file.
      max_pixels: how many are allowed.
      header: a JPEG's, unless it is unusual.
    """
    check_size(image.width, image.height, max_pixels)
    file_format = image.format or ""
    is_jpeg = file_format in ("JPEG", "MPO")
    width, height, per_pixel = image.width, image.height, _BYTES_PER_PIXEL.get(file_format, 0)
    tiles: Any = getattr(image, "tile", ())
    if is_jpeg and image.mode == "CMYK":
        per_pixel = _CMYK_JPEG_BYTES_PER_PIXEL
    elif file_format == "TIFF":
        width, height, per_pixel = _tiff_cost(image)
    check_memory(file_format, width, height, len(data), per_pixel)
    if len(data) > _MAX_COMPRESSED and file_format not in _UNCOMPRESSED:
        raise TooCostlyError(f"a {file_format} of {len(data)} bytes, at most {_MAX_COMPRESSED}")
    pixels = image.width * image.height
    if pixels > _MAX_PYTHON_PIXELS and any(tile[0] in _PYTHON_DECODERS for tile in tiles):
        raise TooCostlyError(
            f"{image.width}x{image.height} pixels of a rare kind, at most {_MAX_PYTHON_PIXELS}"
        )
    if is_jpeg:
        if header is None or header.has_scans:
            check_scans(pixels, data)
    elif file_format == "TIFF" and any(tile[0] == "libtiff" for tile in tiles):
        _check_tiff_scans(image, data, pixels)


def check_memory(
    file_format: str, width: int, height: int, file_bytes: int, per_pixel: float
) -> None:
    """Raises TooCostlyError for an image that takes too much, at `per_pixel` bytes or the least."""
    need = width * height * max(per_pixel, _LEAST_BYTES_PER_PIXEL) + file_bytes
    if need > MAX_BYTES:
        raise TooCostlyError(
            f"{width}x{height} pixels as {file_format or 'an image'}, which need "
            f"{need / 2**30:.1f} GiB to decode, at most {MAX_BYTES // 2**30}"
        )


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Returns (width, height) of the canvas, by the container's specification (RFC 9649)."""
    kind, head = data[12:16], data[20:30]
    if len(head) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _check_tiff(data: bytes) -> None:
    """Raises TooCostlyError for more numbers in a tag than Python should make objects of."""
    order, is_big = "<" if data[:1] == b"I" else ">", data[2:4] in (b"+\0", b"\0+")
    try:
        (start,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
        (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, start)
        entry = struct.Struct(order + ("HHQQ" if is_big else "HHII"))
        first = start + (8 if is_big else 2)
        if count > 0xFFFF:
            raise TooCostlyError(f"a TIFF of {count} tags")
        for number in range(count):
            tag, kind, values, _ = entry.unpack_from(data, first + number * entry.size)
            if kind in _TIFF_WIDTHS and values > _MAX_VALUES:
                raise TooCostlyError(f"a TIFF with {values} values of tag {tag}")
    except struct.error:
        return  # truncated: Pillow says so


def _tiff_cost(image: Any) -> tuple[int, int, float]:
    """Returns (width, height, bytes a pixel), a tile's where it is larger than the image."""
    tags = image.tag_v2
    bits = tags.get(258, (8,))
    bits = sum(bits) if isinstance(bits, tuple) else bits
    width, height = max(image.width, tags.get(322, 0)), max(image.height, tags.get(323, 0))
    return width, height, 4 + bits / 8


def _check_tiff_scans(image: Any, data: bytes, pixels: int) -> None:
    """Raises TooCostlyError for strips or tiles, each a JPEG, of too many scans in all."""
    tags = image.tag_v2
    for offsets, counts in ((273, 279), (324, 325)):
        starts, lengths = tags.get(offsets, ()), tags.get(counts, ())
        scans = sum(
            data.count(_START_OF_SCAN, start, start + length)
            for start, length in zip(starts, lengths, strict=False)
        )
        if tags.get(259) in (6, 7) and scans * pixels > _MAX_PIXEL_SCANS * max(1, len(starts)):
            raise TooCostlyError(f"a TIFF of {pixels} pixels and JPEGs of {scans} scans")
