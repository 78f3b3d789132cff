import importlib
import io

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


@pytest.mark.parametrize("factor", [1, 3])  # above the limit Pillow warns; above twice it refuses
def test_decompression_bombs_are_refused(monkeypatch, recwarn, factor):
    importlib.reload(decode)  # pytest forgets the warning filter that the first import set
    monkeypatch.setattr(decode, "MAX_PIXELS", 100 // factor)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100 // factor)
    data = encode(Image.new("L", (11, 10)))
    with pytest.raises(CorruptImageError, match="bomb: "):
        decode.decode_image(data, "bomb")
    assert not recwarn.list  # a warning would be a second line on stderr
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(CorruptImageError, match=r"bomb: .*11x10 pixels, at most"):
        decode.decode_image(data, "bomb")


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
