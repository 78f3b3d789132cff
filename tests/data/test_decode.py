import importlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from crnn_jax.data import decode
from crnn_jax.data.decode import decode_image, match_source, resize_and_crop, to_shape
from crnn_jax.errors import CorruptImageError, UserError

RGB_HWC = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def encode(image, file_format="PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def test_rgb_png_is_exact_and_writable(tmp_path):
    data = encode(Image.fromarray(RGB_HWC))
    (tmp_path / "a.png").write_bytes(data)
    for image_HWC in (decode_image(data), decode_image(tmp_path / "a.png")):
        assert image_HWC.dtype == np.uint8
        assert image_HWC.flags.writeable
        np.testing.assert_array_equal(image_HWC, RGB_HWC)


def test_gray_is_repeated():
    image_HWC = decode_image(encode(Image.fromarray(RGB_HWC[:, :, 0])))
    np.testing.assert_array_equal(image_HWC, np.repeat(RGB_HWC[:, :, :1], 3, axis=2))


def test_one_bit_is_black_and_white():
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert decode_image(encode(image))[:, :, 2].tolist() == [[0, 255], [255, 0]]


def test_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 150, 100])
    image.putpixel((1, 0), 1)
    for file_format in ("PNG", "GIF"):
        pixels = decode_image(encode(image, file_format))
        assert pixels.tolist() == [[[10, 20, 30], [200, 150, 100]]]


def test_transparency_is_composited_on_white():
    rgba = np.array([[[100, 0, 50, 255], [100, 0, 50, 0], [0, 0, 0, 51]]], np.uint8)
    pixels = decode_image(encode(Image.fromarray(rgba)))
    assert pixels.tolist() == [[[100, 0, 50], [255, 255, 255], [204, 204, 204]]]  # 255 * (1 - 0.2)
    gray_alpha = Image.merge("LA", [Image.new("L", (1, 1), 10), Image.new("L", (1, 1), 0)])
    assert decode_image(encode(gray_alpha)).tolist() == [[[255, 255, 255]]]
    palette = Image.new("P", (1, 1))
    palette.putpalette([9, 9, 9])
    assert decode_image(encode(palette, transparency=0)).tolist() == [[[255, 255, 255]]]


def test_cmyk_has_three_channels():
    image_HWC = decode_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert image_HWC.shape == (8, 8, 3)
    assert image_HWC[4, 4, 0] > 240
    assert image_HWC[4, 4, 1:].max() < 15


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_keeps_the_upper_byte(file_format):
    gray = np.array([[0, 255, 256, 0x80FF, 65535]], np.uint16)
    pixels = decode_image(encode(Image.fromarray(gray), file_format))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 0x80, 255]
    assert pixels.shape == (1, 5, 3)


def png(depth, colour, pixels, transparent) -> bytes:
    """A PNG of one row with one transparent colour; depth and colour type as specified."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    width = len(pixels) * 8 // depth // (3 if colour == 2 else 1)
    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    marked = struct.pack(f">{len(transparent)}H", *transparent)
    parts = (b"IHDR", header), (b"tRNS", marked), (b"IDAT", zlib.compress(b"\0" + pixels))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("depth", "colour", "pixels", "transparent", "expected"),
    [
        (16, 0, struct.pack(">3H", 0, 300, 65535), [0], [255, 1, 255]),
        (16, 0, struct.pack(">3H", 0, 300, 301), [300], [0, 255, 1]),
        (8, 0, bytes([10, 11, 0]), [10], [255, 11, 0]),
        (8, 0, bytes([10, 11, 0]), [0x010A], [255, 11, 0]),  # the lower bits count
        (4, 0, bytes([0x5F, 0x40]), [5], [255, 255, 68, 0]),
        (2, 0, bytes([0b00011011]), [1], [0, 255, 170, 255]),
        (1, 0, bytes([0b01000000]), [0], [255] * 8),
        (8, 2, bytes([1, 2, 3, 1, 2, 4]), [1, 2, 3], [255, 1]),
        (
            16,
            2,
            struct.pack(">6H", 0x1FF, 0x200, 0x300, 0x500, 0, 0),
            [0x1FF, 0x200, 0x300],
            [255, 5],
        ),
    ],
)
def test_the_transparent_colour_of_a_png_is_white(depth, colour, pixels, transparent, expected):
    assert decode_image(png(depth, colour, pixels, transparent))[0, :, 0].tolist() == expected


def gray_tiff(bits, pixels, white_is_zero=False, kind=1) -> bytes:
    tags = [(256, 2), (257, 1), (258, bits), (259, 1), (262, 0 if white_is_zero else 1)]
    tags += [(273, 200), (277, 1), (278, 1), (279, len(pixels)), (339, kind)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head.ljust(200, b"\0") + pixels


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (gray_tiff(12, bytes([0xFF, 0xF8, 0x00])), [255, 128]),
        (gray_tiff(16, struct.pack("<2H", 0, 65535)), [0, 255]),
        (gray_tiff(16, struct.pack("<2H", 0, 65535), white_is_zero=True), [255, 0]),
        (gray_tiff(8, bytes([0, 255]), white_is_zero=True), [255, 0]),
        (b"P5 2 1 4095\n" + struct.pack(">2H", 0, 4095), [0, 255]),
    ],
)
def test_black_and_white_at_every_depth(data, expected):
    assert decode_image(data)[0, :, 1].tolist() == expected


@pytest.mark.parametrize(("bits", "kind"), [(32, 1), (32, 2), (16, 2), (8, 2)])
def test_numbers_of_unknown_range_are_refused(bits, kind):
    with pytest.raises(CorruptImageError, match="signed or 32-bit pixels"):
        decode_image(gray_tiff(bits, bytes(bits // 4), kind=kind))


def test_what_is_no_image_format_is_not_run():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(CorruptImageError, match="found no known format"):
        decode_image(postscript, "cat.png")


def test_a_pipe_and_a_folder_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "cat.png")
    for path in (tmp_path / "cat.png", tmp_path):
        with pytest.raises(CorruptImageError, match="expected a readable image"):
            decode_image(path)


def test_float_pixels_are_refused():
    data = encode(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF")
    with pytest.raises(CorruptImageError, match=r"scan: .*floating-point"):
        decode_image(data, "scan")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    # By the EXIF standard: which side of what is seen are row 0 and column 0 of what is stored.
    upright = RGB_HWC
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: np.rot90(upright),  # right, top
        7: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: np.rot90(upright, -1),  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(decode_image(data), upright)


def test_broken_exif_does_not_spoil_the_image():
    data = encode(Image.fromarray(RGB_HWC), exif=b"Exif\x00\x00no TIFF header here")
    np.testing.assert_array_equal(decode_image(data), RGB_HWC)


def test_corrupt_images_are_named(tmp_path):
    png = encode(Image.fromarray(RGB_HWC))
    jpeg = encode(Image.fromarray(np.repeat(RGB_HWC, 20, axis=0)), "JPEG")
    for data in (
        png[: len(png) // 2],
        jpeg[: len(jpeg) // 2],
        b"",
        b"no image",
        png[:40] + bytes(40),
    ):
        path = tmp_path / "cat.png"
        path.write_bytes(data)
        for call in (lambda d=data: decode_image(d, "cat.png"), lambda p=path: decode_image(p)):
            with pytest.raises(
                CorruptImageError, match=r"cat\.png: expected .*image, found"
            ) as caught:
                call()
            assert "object at 0x" not in str(caught.value)
    with pytest.raises(CorruptImageError, match=r"dog\.png.*no such file"):
        decode_image(tmp_path / "dog.png")


def test_more_pixels_than_allowed_are_refused():
    data = encode(Image.new("L", (11, 10)))
    assert decode_image(data, "bomb", max_pixels=110).shape == (10, 11, 3)
    with pytest.raises(CorruptImageError, match=r"bomb: .*11x10 pixels, at most 109 .'data.max_pi"):
        decode_image(data, "bomb", max_pixels=109)


@pytest.mark.parametrize("factor", [1, 3])  # above the limit Pillow warns; above twice it refuses
def test_pillow_s_own_limit_is_one_line(monkeypatch, recwarn, factor):
    importlib.reload(decode)  # pytest forgets the warning filter that the first import set
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100 // factor)
    with pytest.raises(CorruptImageError, match="bomb: "):
        decode.decode_image(encode(Image.new("L", (11, 10))), "bomb")
    assert not recwarn.list  # a warning would be a second line on stderr


def test_resize_and_crop_takes_the_centre():
    image_HWC = np.random.default_rng(1).integers(0, 256, (8, 24, 3), np.uint8)
    whole_HWC = np.array(Image.fromarray(image_HWC).resize((12, 4), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize_and_crop(image_HWC, 4), whole_HWC[:, 4:8])
    tall_HWC = image_HWC.transpose(1, 0, 2)
    np.testing.assert_array_equal(
        resize_and_crop(tall_HWC, 4), whole_HWC[:, 4:8].transpose(1, 0, 2)
    )
    assert resize_and_crop(np.zeros((100_000, 1, 3), np.uint8), 200).shape == (200, 200, 3)


def test_resize_and_crop_keeps_what_already_fits():
    square_HWC = RGB_HWC[:, 1:6]
    np.testing.assert_array_equal(resize_and_crop(RGB_HWC, 5), square_HWC)
    assert resize_and_crop(square_HWC[:, :, :1], 5) is not None
    assert resize_and_crop(RGB_HWC[:, :, :1], 3).shape == (3, 3, 1)


def test_resizing_is_antialiased():
    stripes_HWC = np.tile(np.array([0, 200], np.uint8)[None, :, None], (16, 8, 3))
    interior = resize_and_crop(stripes_HWC, 4)[:, 1:-1]
    assert 85 <= interior.min() <= interior.max() <= 115  # without a filter: 0 or 200


def test_to_shape_converts_channels():
    gray_HWC = to_shape(np.array([[[255, 0, 0], [7, 7, 7]]], np.uint8), (1, 2, 1))
    assert gray_HWC.tolist() == [[[76], [7]]]  # 0.299 * 255 = 76.2
    assert to_shape(gray_HWC, (1, 2, 3)).tolist() == [[[76] * 3, [7] * 3]]
    assert to_shape(RGB_HWC, (4, 2, 3)).shape == (4, 2, 3)


def test_another_size_names_the_image_and_the_key():
    with pytest.raises(
        UserError, match=r"b\.png: expected 5x5 .* found 5x7;.*'data.image_size'"
    ) as caught:
        match_source(RGB_HWC, (5, 5, 3), 0, "b.png")
    assert not isinstance(caught.value, CorruptImageError)  # nothing for skip_corrupt
    assert match_source(RGB_HWC, (5, 5, 3), 5, "b.png").shape == (5, 5, 3)
