"""Bombs: files that declare more than they hold; each is refused quickly and with little memory."""

import functools
import io
import resource
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from crnn_jax.data import decode, jpeg, limits
from crnn_jax.data.crops import Box
from crnn_jax.errors import CorruptImageError, UserError

SECONDS = 5


def encode(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *, depth=8, colour=2, before=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + data + chunk(b"IEND", b"")


def webp(side):
    """A lossless WebP of 16 pixels whose header declares more."""
    data = bytearray(encode(Image.new("RGB", (16, 16)), "WEBP", lossless=True))
    bits = (side - 1) | (side - 1) << 14
    kept = int.from_bytes(data[21:25], "little") & ~0x0FFFFFFF
    data[21:25] = (kept | bits).to_bytes(4, "little")
    return bytes(data)


@functools.cache
def many_scans(side, scans):
    """A progressive JPEG whose last scan is repeated."""
    data = encode(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + b"\xff\xd9"


def tiff(*tags, size=(9, 9)):
    """A TIFF of gray pixels, (tag, type, count, value) added."""
    data = encode(Image.new("L", size), "TIFF")
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = {
        struct.unpack_from("<H", data, start + 2 + 12 * i)[0]: data[start + 2 + 12 * i :][:12]
        for i in range(count)
    }
    entries.update({tag: struct.pack("<HHII", tag, *rest) for tag, *rest in tags})
    body = b"".join(entries[tag] for tag in sorted(entries))
    new = struct.pack("<H", len(entries)) + body + bytes(4)
    return b"II*\0" + struct.pack("<I", len(data)) + data[8:] + new


BOMBS = {
    "png wide": (lambda: png(89_478_485, 1), "at most 16777216 a side"),
    "png of 64 bits": (lambda: png(89_478_485, 1, depth=16, colour=6), "a side"),
    "png tall": (lambda: png(1, 89_478_485), "a side"),
    "png large": (lambda: png(50_000, 50_000), "exceeds limit"),
    "png of chunks": (lambda: png(1, 1, before=chunk(b"teSt", b"") * 300_000), "parts"),
    "webp": (lambda: webp(9_400), "9400x9400 pixels as WEBP, which need 1.5 GiB"),
    "webp large": (lambda: webp(16_384), "16384x16384 pixels"),
    "jpeg scans": (lambda: many_scans(4000, 2000), "16000000 pixels in 2000 scans"),
    "gif": (
        lambda: b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
        "exceeds limit",
    ),
    "bmp": (
        lambda: b"BM" + bytes(8) + struct.pack("<IIiiHH", 54, 40, 30000, 9000, 1, 24) + bytes(24),
        "exceeds limit",
    ),
    "tiff": (lambda: tiff((256, 4, 1, 60_000), (257, 4, 1, 60_000)), "exceeds limit"),
    "tiff strips": (lambda: tiff((273, 4, 10**7, 8)), "10000000 values of tag 273"),
    "tiff tile": (lambda: tiff((322, 4, 1, 40_000), (323, 4, 1, 40_000)), "40000x40000 pixels"),
    "plain ppm": (lambda: b"P3 3000 1000 255\n" + b"1 " * 9_000_000, "of a rare kind"),
    "ppm of 100": (lambda: b"P6 3000 1000 100\n" + bytes(9_000_000), "of a rare kind"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name):
    make, expected = BOMBS[name]
    data = make()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for read in (
        lambda: decode.decode_image(data, "bomb"),
        lambda: jpeg.decode_box(data, lambda h, w: Box(0, 0, h, w), (8, 8, 3), "bomb"),
    ):
        with pytest.raises(CorruptImageError, match=f"bomb: .*{expected}") as caught:
            read()
        assert len(str(caught.value).splitlines()) == 1
    assert time.process_time() - start < 2 * SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


def test_a_tiff_of_jpegs_of_many_scans():
    inner = many_scans(1024, 1000)
    tags = ((256, 3, 1, 1024), (257, 3, 1, 1024), (278, 3, 1, 1024), (259, 3, 1, 7))
    data = tiff(*tags, (273, 4, 1, 0), (279, 4, 1, len(inner)), size=(8, 8))
    at = len(data)
    data = tiff(*tags, (273, 4, 1, at), (279, 4, 1, len(inner)), size=(8, 8)) + inner
    with pytest.raises(CorruptImageError, match="TIFF of 1048576 pixels and JPEGs of 1000 scans"):
        decode.decode_image(data, "bomb")


def test_what_people_have_is_not_refused():
    flat = Image.new("RGB", (8192, 6144))  # a telephone's 50 million pixels
    for data in (encode(flat, "JPEG", progressive=True), encode(flat, "PNG", compress_level=1)):
        with Image.open(io.BytesIO(data)) as image:
            limits.check_image(image, data, limits.MAX_PIXELS)
    few = many_scans(500, 1000)
    assert decode.decode_image(few).shape == (500, 500, 3)


def test_a_large_image_is_converted_in_bands():
    random = np.random.default_rng(0)
    rgba = random.integers(0, 256, (1100, 1000, 4), np.uint8)
    image = Image.fromarray(rgba)
    white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    np.testing.assert_array_equal(
        decode.decode_image(encode(image, "PNG", compress_level=1)), np.asarray(white)
    )


def test_a_lack_of_memory_is_no_corrupt_image(monkeypatch):
    data = encode(Image.new("L", (3, 3)), "PNG")

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", fail)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(CorruptImageError, match=r"scan: .*needs too much memory"):
        decode.decode_image(data, "scan")
    monkeypatch.setattr(decode.np, "empty", fail)
    with pytest.raises(UserError, match="scan: expected 1024 MiB of memory") as caught:
        decode.decode_image(data, "scan")
    assert not isinstance(caught.value, CorruptImageError)
