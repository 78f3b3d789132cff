"""Samples of 16 bits of which `bit_depth` count, in files and all the way to a model's input."""

import copy
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from crnn_jax.config import default_config
from crnn_jax.data import depth, inputs
from crnn_jax.data.cache import decoded
from crnn_jax.data.decode import decode_image
from crnn_jax.data.sources import load_source
from crnn_jax.data.splits import Encoded
from crnn_jax.data.views import make_view, training_view
from crnn_jax.errors import CorruptImageError, UserError
from crnn_jax.validation import validate

TWELVE = [0, 15, 16, 2048, 4095]  # of 12 bits: >> 4
EIGHT = [0, 0, 1, 128, 255]
_TYPES = {0: 1, 2: 3, 4: 2, 6: 4}  # PNG's colour types: samples a pixel


def png(colour, samples, transparent=(), extra=b"") -> bytes:
    """A PNG of one row of 16-bit samples."""

    def chunk(kind, body):
        sum_ = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", sum_)

    width = len(samples) // _TYPES[colour]
    row = b"\0" + struct.pack(f">{len(samples)}H", *samples)
    header = struct.pack(">IIBBBBB", width, 1, 16, colour, 0, 0, 0)
    marked = struct.pack(f">{len(transparent)}H", *transparent)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + (chunk(b"tRNS", marked) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )


def tiff(samples, per_pixel=1, photometric=1, order="<", planes=1, extra=None) -> bytes:
    """A TIFF of one row of 16-bit samples; of several planes each is compressed."""
    width = len(samples) // per_pixel
    rows = [samples] if planes == 1 else [samples[i::per_pixel] for i in range(per_pixel)]
    strips = [struct.pack(f"{order}{len(row)}H", *row) for row in rows]
    strips = strips if planes == 1 else [zlib.compress(strip) for strip in strips]
    starts = [300 + sum(map(len, strips[:i])) for i in range(len(strips))]
    tags = {256: [width], 257: [1], 258: [16] * per_pixel, 259: [1 if planes == 1 else 8]}
    tags |= {262: [photometric], 273: starts, 277: [per_pixel], 278: [1]}
    tags |= {279: [len(strip) for strip in strips], 284: [planes]}
    tags |= {} if extra is None else {338: [extra]}
    entries, rest = b"", b""
    for tag, values in tags.items():
        body = struct.pack(f"{order}{len(values)}H", *values)
        if len(body) > 4:  # what does not fit lies elsewhere
            rest += body
            body = struct.pack(f"{order}I", 250 + len(rest) - len(body))
        entries += struct.pack(f"{order}HHI", tag, 3, len(values)) + body.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4)
    return (head.ljust(250, b"\0") + rest).ljust(300, b"\0") + b"".join(strips)


def by_opencv(samples_HWC, name) -> bytes:
    good, data = cv2.imencode(name, samples_HWC)  # a TIFF is compressed by LZW
    assert good
    return data.tobytes()


def red(data, bit_depth):
    return decode_image(data, "scan.png", bit_depth=bit_depth)[0, :, 0].tolist()


GRAY = {
    "png": png(0, TWELVE),
    "tiff": tiff(TWELVE),
    "big-endian tiff": tiff(TWELVE, order=">"),
    "compressed tiff": by_opencv(np.array([TWELVE], np.uint16), ".tiff"),
}


@pytest.mark.parametrize("kind", GRAY)
def test_twelve_bits_of_gray_fill_eight(kind):
    data = GRAY[kind]
    assert red(data, 12) == EIGHT
    assert red(data, 0) == red(data, 16) == [0, 0, 0, 8, 15]  # the upper 8 of 16
    assert red(data, 13) == [0, 0, 0, 64, 127]
    with pytest.raises(CorruptImageError, match=r"scan\.png: expected samples of at most 2047"):
        decode_image(data, "scan.png", bit_depth=11)


@pytest.mark.parametrize("bit_depth", range(9, 17))
def test_every_depth_spans_black_to_white(bit_depth):
    half, most = 2 ** (bit_depth - 1), 2**bit_depth - 1
    assert red(png(0, [0, half, most]), bit_depth) == [0, 128, 255]
    assert red(png(2, [0, 0, 0, half, 0, 0, most, 0, 0]), bit_depth) == [0, 128, 255]


PIXELS = [[16, 4095, 0], [4080, 31, 2048]]  # of 12 bits
COLOURS = [[1, 255, 0], [255, 1, 128]]


def each(alpha=None):
    return [x for pixel in PIXELS for x in (pixel if alpha is None else [*pixel, alpha])]


RGB = {
    "png": png(2, each()),
    "png with alpha": png(6, each(65535)),
    "tiff": tiff(each(), 3, 2),
    "big-endian tiff": tiff(each(), 3, 2, order=">"),
    "tiff with a number that means nothing": tiff(each(7), 4, 2, extra=0),
    "big-endian tiff with alpha": tiff(each(65535), 4, 2, extra=2, order=">"),
    "compressed tiff": by_opencv(np.array([PIXELS], np.uint16)[..., ::-1], ".tiff"),
}


@pytest.mark.parametrize("kind", RGB)
def test_twelve_bits_of_colour_fill_eight(kind):
    assert decode_image(RGB[kind], bit_depth=12)[0].tolist() == COLOURS
    with pytest.raises(CorruptImageError, match=r"at most 1023 .*'data.bit_depth' 10.*found 4095"):
        decode_image(RGB[kind], bit_depth=10)


def test_alpha_has_all_bits():
    half = 65535 // 2 // 256 * 256  # 127 of 255
    assert red(png(4, [4095, 65535, 4095, 0, 0, half, 2048, 65535]), 12) == [255, 255, 128, 128]
    rgba = png(6, [0, 0, 0, 65535, 0, 0, 0, half])
    assert red(rgba, 12) == [0, 128]


def test_the_transparent_colour_moves_with_the_samples():
    assert red(png(0, [1000, 1001, 0], [1000]), 12) == [255, 62, 0]
    assert red(png(0, [1000, 0], [5000]), 12) == [62, 0]  # of no pixel
    assert red(png(2, [32, 0, 0, 160, 0, 0], [4096 + 32, 0, 0]), 12) == [2, 10]
    assert red(png(2, [32, 0, 0, 160, 0, 0], [32, 0, 0]), 12) == [255, 10]
    assert decode_image(png(2, [4095, 0, 0], [5000, 0, 0]), bit_depth=12).tolist() == [
        [[255, 0, 0]]
    ]


def test_white_may_be_zero():
    assert red(tiff([0, 2048, 4095], photometric=0), 12) == [255, 127, 0]


def test_other_images_are_as_they_were():
    gray = np.array([[0, 77, 255]], np.uint8)
    for form in ("PNG", "TIFF", "BMP", "JPEG", "WEBP"):
        file = io.BytesIO()
        Image.fromarray(gray).convert("RGB").save(file, form)
        data = file.getvalue()
        np.testing.assert_array_equal(decode_image(data, bit_depth=9), decode_image(data))
    names_its_largest = b"P5 2 1 4095\n" + struct.pack(">2H", 0, 4095)
    assert red(names_its_largest, 9) == [0, 255]


def test_orientation_and_size_are_kept(monkeypatch):
    monkeypatch.setattr(depth, "_BAND", 7)  # a few rows at a time
    random = np.random.default_rng(0)
    samples_HWC = random.integers(0, 4096, (5, 3, 3)).astype(np.uint16)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # row 0 is seen on the right
    Image.new("RGB", (1, 1)).save(file, "PNG", exif=exif)
    at = file.getvalue().index(b"eXIf")
    length = int.from_bytes(file.getvalue()[at - 4 : at], "big")
    chunk = file.getvalue()[at - 4 : at + length + 8]
    gray_HW = samples_HWC[..., 0]
    for stored, written in ((samples_HWC, samples_HWC[..., ::-1]), (gray_HW, gray_HW)):
        data = by_opencv(written, ".png")
        head = data.index(b"IDAT") - 4
        found = decode_image(data[:head] + chunk + data[head:], bit_depth=12)
        expected = np.broadcast_to((stored >> 4).reshape(5, 3, -1), (5, 3, 3))
        np.testing.assert_array_equal(found, np.rot90(expected, -1))


OTHERS = {
    "CMYK": tiff([1, 2, 3, 4], 4, 5),
    "colours times alpha": tiff([1, 2, 3, 4], 4, 2, extra=1),
    "planes": tiff([1, 2, 3], 3, 2, planes=2),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_colours_of_another_kind_are_refused(kind):
    data = OTHERS[kind]
    assert decode_image(data).shape == (1, 1, 3)
    with pytest.raises(CorruptImageError, match=r"scan: .*16 bits as .*save it as gray, RGB"):
        decode_image(data, "scan", bit_depth=12)


def test_damaged_files_are_named():
    data = by_opencv(np.full((40, 40, 3), 4095, np.uint16), ".png")
    with pytest.raises(CorruptImageError, match="scan: expected a readable image"):
        decode_image(data[: len(data) // 2], "scan", bit_depth=12)


def test_a_depth_is_one_of_nine_to_sixteen():
    config = default_config("crnn")
    for value in (1, 8):
        config.data.bit_depth = value
        with pytest.raises(UserError, match=f"'data.bit_depth' expects 9 to 16.*found {value}"):
            validate(config)


@pytest.fixture
def scans(tmp_path):
    """A folder of 12-bit gray images: of 'dark' all 160, of 'bright' all 4000."""
    for part in ("train", "test"):
        for name, value in (("bright", 4000), ("dark", 160)):
            path = tmp_path / part / name / "a.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(by_opencv(np.full((12, 12), value, np.uint16), ".png"))
    return tmp_path


def config_of(folder, **changes):
    config = copy.deepcopy(default_config("crnn"))
    for key, value in {"source": f"folder:{folder}", "image_size": 8, **changes}.items():
        config.data[key] = value
    return config


@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_a_prediction_sees_what_training_saw(kind, scans):
    (scans / "all.csv").write_text(
        "path,label,split\n"
        + "".join(f"{p}/{c}/a.png,{c},{p}\n" for p in ("train", "test") for c in ("bright", "dark"))
    )
    source = {"folder": f"folder:{scans}", "csv": f"csv:{scans / 'all.csv'}"}[kind]
    fingerprints = set()
    for bit_depth, bright, dark in ((12, 250, 10), (0, 15, 0)):
        config = config_of(scans, source=source, bit_depth=bit_depth)
        loaded = load_source(config.data, 0)
        fingerprints.add(loaded.fingerprint)
        assert training_view(config) is None
        for label, (name, value) in enumerate((("bright", bright), ("dark", dark))):
            trained = loaded.train.read(label)["image"]
            path = scans / "test" / name / "a.png"
            seen = inputs.read_input(path, loaded.input_shape, make_view(config))
            assert (trained == value).all()
            np.testing.assert_array_equal(trained, seen)
    assert len(fingerprints) == 2


def test_crops_see_it_too(scans):
    config = config_of(scans, crop="random_resized", pipeline="streaming", bit_depth=12)
    view, split = training_view(config), load_source(config.data, 0).train
    assert view is not None
    assert split.encoded is not None
    (encoded,) = split.encoded([0])
    assert isinstance(encoded, Encoded)
    assert (view.decode(encoded, 0, 0, (8, 8, 3), np.empty((8, 8, 3), np.uint8)) == 250).all()
    path = scans / "test/bright/a.png"
    assert (inputs.read_input(path, (8, 8, 3), make_view(config)) == 250).all()


def test_a_cache_of_another_depth_is_not_used(scans, tmp_path):
    found = {}
    for bit_depth in (0, 12, 13):
        config = config_of(scans, bit_depth=bit_depth)
        source = load_source(config.data, 0)
        examples = decoded(
            source.train,
            cache_dir=tmp_path / "cache",
            fingerprint=source.fingerprint,
            skip_corrupt=False,
        )
        found[source.fingerprint] = examples.fields["image"][0, 0, 0, 0]
    assert list(found.values()) == [15, 250, 125]


def test_an_image_beyond_the_depth_is_as_a_corrupt_one(scans, tmp_path):
    config = config_of(scans, bit_depth=11)
    split = load_source(config.data, 0).train
    keep = {"cache_dir": tmp_path / "cache", "fingerprint": "f"}
    with pytest.raises(
        CorruptImageError, match=r"bright.a\.png: .* 2047 .*, found 4000, .* 12 bits"
    ):
        decoded(split, **keep, skip_corrupt=False)
    assert decoded(split, **keep, skip_corrupt=True).weight_N.tolist() == [0, 1]
    config.data.image_size = 0
    with pytest.raises(CorruptImageError, match="at most 2047"):  # the first, which says the size
        load_source(config.data, 0)
    config.data.skip_corrupt = True
    assert load_source(config.data, 0).input_shape == (12, 12, 3)


def test_an_image_of_pillow_is_scaled_too(scans):
    image = Image.fromarray(np.full((8, 8), 4000, np.uint16))
    (batch,) = inputs.read_batches(image, (8, 8, 3), make_view(config_of(scans, bit_depth=12)), 4)
    assert (batch.pixels == 250).all()
