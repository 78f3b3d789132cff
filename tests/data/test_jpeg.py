import io

import cv2
import numpy as np
import pytest
from PIL import Image

from crnn_jax.data import decode, jpeg
from crnn_jax.data.box import Box
from crnn_jax.errors import CorruptImageError

_SMALL = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
PHOTO_HWC = cv2.resize(_SMALL, (340, 260), interpolation=cv2.INTER_CUBIC)


def encode(array, file_format="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, file_format, **options)
    return file.getvalue()


def read(data, box, shape=(20, 20, 3)):
    return jpeg.decode_box(data, lambda height, width: box, shape, "cat")


def reference(data, box, shape=(20, 20, 3)):
    """The whole image by Pillow, the box, then the mean over each output pixel's area."""
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    top, left, height, width = map(round, box)
    part = whole[top : top + height, left : left + width]
    method = cv2.INTER_AREA if height > shape[0] else cv2.INTER_LINEAR
    return cv2.resize(part, shape[1::-1], interpolation=method)


OPTIONS = [
    {"subsampling": "4:4:4"},
    {"subsampling": "4:2:0"},
    {"progressive": True},
    {"restart_marker_rows": 1},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("side", [10, 20, 39, 40, 96, 176])  # at scale 1, 1, 1, 2, 4, 8
def test_a_box_is_that_part_of_the_image(options, side):
    data = encode(PHOTO_HWC, quality=95, **options)
    box = Box(16, 64, side, side)
    found, expected = read(data, box), reference(data, box)
    assert found.shape == (20, 20, 3)
    assert found.dtype == np.uint8
    # Coarse scales are averages of the same pixels: equal but for rounding and chroma.
    assert np.abs(found.astype(int) - expected).mean() < (1 if side <= 20 else 5)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("side", [20, 45, 90])
def test_what_is_below_is_not_decoded_and_changes_nothing(options, side, monkeypatch):
    data = encode(PHOTO_HWC, **options)
    box, rows = Box(30.5, 100, side, side), []
    decode_jpeg = jpeg.simplejpeg.decode_jpeg

    def whole(_, *arguments, **keys):
        keys["min_height"] = -(-PHOTO_HWC.shape[0] // keys["min_factor"])
        keys["buffer"] = None  # that of the part is too small, unless an earlier test grew it
        return decode_jpeg(data, *arguments, **keys)[: rows[0]]

    def spy(*arguments, **keys):
        found = decode_jpeg(*arguments, **keys)
        rows.append(found.shape[0])
        return found

    monkeypatch.setattr(jpeg.simplejpeg, "decode_jpeg", spy)
    found = read(data, box)
    assert rows[0] * max(1, side // 20) < 30.5 + side + 40
    monkeypatch.setattr(jpeg.simplejpeg, "decode_jpeg", whole)
    np.testing.assert_array_equal(found, read(data, box))


def test_gray():
    gray_HW = PHOTO_HWC[:, :, 0].copy()
    box = Box(0, 0, 20, 20)
    for data in (encode(gray_HW), encode(gray_HW, "PNG")):
        colour, gray = read(data, box), read(data, box, (20, 20, 1))
        np.testing.assert_array_equal(colour, np.repeat(gray, 3, axis=2))
        assert np.abs(gray[:, :, 0].astype(int) - gray_HW[:20, :20]).mean() < 3
    luma = np.asarray(Image.fromarray(PHOTO_HWC).convert("L"))[:20, :20]
    found = read(encode(PHOTO_HWC, quality=100), box, (20, 20, 1))[:, :, 0]
    assert np.abs(found.astype(int) - luma).max() <= 3


def test_what_the_fast_path_does_not_know_goes_through_pillow():
    cmyk = Image.fromarray(PHOTO_HWC).convert("CMYK")
    file = io.BytesIO()
    cmyk.save(file, "JPEG")
    alpha = np.dstack([PHOTO_HWC, np.full(PHOTO_HWC.shape[:2], 100, np.uint8)])
    deep = PHOTO_HWC[:, :, 0].astype(np.uint16) * 257
    box = Box(0, 0, 20, 20)
    for data in (
        file.getvalue(),
        encode(PHOTO_HWC, "PNG"),
        encode(alpha, "PNG"),
        encode(deep, "PNG"),
        encode(PHOTO_HWC, "WEBP", lossless=True),
    ):
        np.testing.assert_array_equal(read(data, box), decode.decode_image(data)[:20, :20])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_box_lies_in_the_upright_image(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(PHOTO_HWC, exif=exif, quality=95)
    seen = decode.decode_image(data)
    shapes = []

    def choose(height, width):
        shapes.append((height, width))
        return Box(200, 10, 20, 20)

    found = jpeg.decode_box(data, choose, (20, 20, 3), "cat")
    assert shapes == [seen.shape[:2]]
    assert np.abs(found.astype(int) - seen[200:220, 10:30]).mean() < 1


@pytest.mark.parametrize("place", ["before the frame", "after the frame"])
@pytest.mark.parametrize("note", ["exif", "xmp"])
def test_every_orientation_is_seen_by_both_decoders(note, place):
    data = encode(PHOTO_HWC, quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes()
    if note == "xmp":
        body = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation="6"/>'
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    at = 2 if place == "before the frame" else data.index(b"\xff\xc4")
    turned = data[:at] + segment + data[at:]
    assert decode.decode_image(turned).shape == (340, 260, 3)
    found, seen = read(turned, Box(200, 10, 20, 20)), decode.decode_image(turned)
    assert np.abs(found.astype(int) - seen[200:220, 10:30]).mean() < 1


def test_tiny_and_extreme_images():
    pixel = encode(np.full((1, 1, 3), 77, np.uint8), "PNG")
    np.testing.assert_array_equal(read(pixel, Box(0, 0, 1, 1)), np.full((20, 20, 3), 77))
    assert read(encode(PHOTO_HWC[:1, :1]), Box(0.4, 0.4, 0.2, 0.2)).shape == (20, 20, 3)
    strip = encode(np.zeros((2, 9000, 3), np.uint8))
    assert read(strip, Box(0, 8000, 2, 3)).shape == (20, 20, 3)
    large = encode(np.full((2000, 3000, 3), 200, np.uint8))
    assert read(large, Box(0, 0, 2000, 2000)).min() > 195


def test_a_large_shrink_is_antialiased():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 200
    for data in (encode(stripes, quality=100), encode(stripes, "PNG")):
        found = read(data, Box(0, 0, 400, 400))
        assert 90 <= found.min() <= found.max() <= 110


def test_broken_files_are_named():
    data = encode(PHOTO_HWC)
    for broken in (data[: len(data) // 2], b"", b"no image", data[:40], data[:2] + bytes(100)):
        with pytest.raises(CorruptImageError, match=r"cat: expected .*image, found"):
            read(broken, Box(0, 0, 20, 20))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_more_pixels_than_allowed_are_refused(file_format):
    data, shape = encode(PHOTO_HWC, file_format), (20, 20, 3)
    with pytest.raises(CorruptImageError, match=r"cat: .*340x260 pixels, at most 88399"):
        jpeg.decode_box(data, lambda h, w: Box(0, 0, 9, 9), shape, "cat", max_pixels=88399)
    jpeg.decode_box(data, lambda h, w: Box(0, 0, 9, 9), shape, "cat", max_pixels=88400)


def test_a_huge_header_is_refused_before_any_memory_is_taken():
    data = bytearray(encode(PHOTO_HWC))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(CorruptImageError, match="65535x65535 pixels, at most"):
        read(bytes(data), Box(0, 0, 20, 20))


def test_a_view_is_as_good_as_bytes():
    data = encode(PHOTO_HWC)
    box = Box(3, 5, 50, 60)
    np.testing.assert_array_equal(read(data, box), read(memoryview(data), box))


def test_what_was_read_stays_when_the_next_is_read():
    data = encode(PHOTO_HWC)
    first = read(data, Box(0, 0, 20, 20))  # not resized
    before = first.copy()
    read(data, Box(100, 100, 20, 20))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_is_written_where_it_is_asked_for(channels):
    data = encode(PHOTO_HWC)
    shape, batch = (20, 24, channels), np.zeros((3, 20, 24, channels), np.uint8)
    box = Box(4.0, 6.0, 30.0, 36.0)
    expected = jpeg.decode_box(data, lambda height, width: box, shape, "cat")
    found = jpeg.decode_box(data, lambda height, width: box, shape, "cat", batch[1])
    assert found.base is batch
    np.testing.assert_array_equal(batch[1], expected)
    assert expected.std() > 0
    assert batch[[0, 2]].sum() == 0
