"""Mutated image files: each is decoded or refused in one line, quickly and alike by both decoders.

CRNN_JAX_FUZZ=100000 sets how many there are; the default takes a few seconds.
"""

import io
import os
import resource
import time

import numpy as np
import pytest
from PIL import Image

from crnn_jax.data import decode, jpeg
from crnn_jax.data.crops import Box
from crnn_jax.errors import CorruptImageError

COUNT = int(os.environ.get("CRNN_JAX_FUZZ", "1000"))
SECONDS = 5
GIBIBYTE = 2**20  # KiB, as getrusage counts
SHAPE = (8, 8, 3)


def seeds() -> dict[str, bytes]:
    """Returns one file or more of each format: colour, gray, transparent, progressive."""
    random = np.random.default_rng(0)
    colour = Image.fromarray(random.integers(0, 256, (24, 20, 3), np.uint8))
    gray, alpha = colour.convert("L"), colour.convert("RGBA")
    deep = Image.fromarray(random.integers(0, 65536, (24, 20), np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    images = {
        "PNG": [(colour, {}), (alpha, {}), (deep, {}), (colour.quantize(8), {"transparency": 1})],
        "JPEG": [(colour, {}), (gray, {"progressive": True}), (colour, {"exif": exif})],
        "WEBP": [(colour, {}), (alpha, {"lossless": True})],
        "GIF": [(colour, {}), (gray, {"save_all": True, "append_images": [gray.rotate(90)]})],
        "BMP": [(colour, {}), (gray, {})],
        "TIFF": [(colour, {}), (deep, {}), (colour, {"compression": "jpeg"})],
        "PPM": [(colour, {}), (gray, {})],
        "AVIF": [(colour, {})],
    }
    images["TIFF"] += [(alpha, {"compression": c}) for c in ("tiff_lzw", "tiff_deflate")]
    found = {}
    for file_format, kinds in images.items():
        for number, (image, options) in enumerate(kinds):
            file = io.BytesIO()
            image.save(file, file_format, **options)
            found[f"{file_format} {number}"] = file.getvalue()
    return found


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """Returns the file with one to four faults, half of them where its sizes are."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 5)):
        end = len(changed) if random.random() < 0.5 else min(64, len(changed))
        at, kind = int(random.integers(0, max(1, end))), random.integers(0, 6)
        length = int(random.integers(1, 9))
        if kind == 0 and changed:
            changed[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 1:
            changed[at : at + length] = random.bytes(length)
        elif kind == 2:  # the largest, and the least, of numbers
            changed[at : at + length] = bytes([random.choice([0, 0x7F, 0xFF])]) * length
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            del changed[int(random.integers(0, len(changed) + 1)) :]
        else:
            part = changed[at : at + 8 * length]
            changed[at:at] = part * int(random.integers(1, 50))
    return bytes(changed)


def outcome(read) -> np.ndarray | None:
    """Returns the image, None where it is refused; any other exception is a fault."""
    start = time.process_time()
    try:
        image_HWC = read()
    except CorruptImageError as error:
        image_HWC, said = None, str(error)
    else:
        said = ""
    assert not said or said.startswith("cat.png: expected")
    assert "object at 0x" not in said
    assert time.process_time() - start < SECONDS
    return image_HWC


def check(data: bytes) -> bool:
    """Returns whether the file can be read, after a check of both decoders."""
    shapes = []

    def whole(height, width):
        shapes.append((height, width))
        return Box(0, 0, height, width)

    image_HWC = outcome(lambda: decode.decode_image(data, "cat.png"))
    part_HWC = outcome(lambda: jpeg.decode_box(data, whole, SHAPE, "cat.png"))
    if image_HWC is not None:
        assert image_HWC.dtype == np.uint8
        assert image_HWC.shape[2] == 3
        assert image_HWC.size <= 3 * decode.MAX_PIXELS
    if image_HWC is not None and part_HWC is not None:
        assert shapes[-1] == image_HWC.shape[:2]  # asked twice where the fast decoder gives up
    return image_HWC is not None


@pytest.mark.parametrize("name", seeds())
def test_every_seed_can_be_read(name):
    assert check(seeds()[name])


def test_mutated_files_are_read_or_refused(record_property):
    files, read = seeds(), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(COUNT):
        name = sorted(files)[number % len(files)]
        data = mutate(files[name], np.random.default_rng(number))
        try:
            read += check(data)
        except BaseException as error:
            error.add_note(f"mutation {number} of {name}: {data[:200]!r}")
            raise
    record_property("mutations", COUNT)
    record_property("read", read)
    assert 0 < read < COUNT  # both happen, else the mutations are too strong or too weak
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GIBIBYTE
