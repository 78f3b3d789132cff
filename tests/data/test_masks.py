"""One mask: which files are read as class numbers, within the limits of images."""

import io
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from crnn_jax.data.limits import MAX_PIXELS
from crnn_jax.data.mask_folder import decode_mask
from crnn_jax.errors import CorruptImageError, UserError


def gray_png(mask_HW, bits):
    """Returns a gray PNG of `bits` a pixel, whose values are those of the mask."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = mask_HW.shape
    shifts = np.arange(8 - bits, -1, -bits)
    rows = mask_HW.reshape(height, -1, 8 // bits).astype(int) << shifts
    data = b"".join(b"\0" + bytes(row.tolist()) for row in rows.sum(-1))
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_of_fewer_bits_keeps_its_class_numbers(tmp_path, bits):
    mask_HW = np.random.default_rng(0).integers(0, 2 ** min(bits, 7), (3, 8))
    (tmp_path / "m.png").write_bytes(gray_png(mask_HW, bits))
    np.testing.assert_array_equal(decode_mask(tmp_path / "m.png", MAX_PIXELS), mask_HW)


def test_a_mask_is_a_png(tmp_path):
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "m.jpg")
    with pytest.raises(UserError, match=r"m\.jpg: expected a mask as PNG, found JPEG"):
        decode_mask(tmp_path / "m.jpg", MAX_PIXELS)


def eps():
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file, "EPS")
    return file.getvalue()


def png_of_chunks():
    data = gray_png(np.zeros((1, 8), int), 8)
    empty = struct.pack(">I4sI", 0, b"teSt", zlib.crc32(b"teSt"))
    return data[:33] + empty * 300_000 + data[33:]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (eps, "found no known format"),
        (lambda: gray_png(np.zeros((30, 40), int), 8), r"40x30 pixels, at most 1000 \('data\.max"),
        (png_of_chunks, "more than 524288 parts"),
    ],
)
def test_masks_have_the_limits_of_images(tmp_path, monkeypatch, make, message):
    def run(*_args, **_kwargs):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", run)
    (tmp_path / "m.png").write_bytes(make())
    with pytest.raises(CorruptImageError, match=rf"m\.png: .*{message}"):
        decode_mask(tmp_path / "m.png", 1000)


def test_what_is_no_png_is_not_decoded(tmp_path, monkeypatch):
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "m.png", "JPEG")
    monkeypatch.setattr(JpegImageFile, "load", None)
    with pytest.raises(UserError, match=r"m\.png: expected a mask as PNG, found JPEG"):
        decode_mask(tmp_path / "m.png", MAX_PIXELS)
