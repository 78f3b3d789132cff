"""Images with masks in folders: what is read, how it is resized, what is wrong with it."""

import numpy as np
import pytest
from PIL import Image

from crnn_jax.config import default_config
from crnn_jax.data.decode import fit_map, to_shape
from crnn_jax.data.fields import IGNORE
from crnn_jax.data.sources import load_source
from crnn_jax.errors import CorruptImageError, UserError

CLASSES = "sky\nroad\ncar\n"


def save(root, part, name, mask_HW, image_HWC=None, mode="L"):
    """Writes an image whose pixels are ten times its mask, and the mask."""
    if image_HWC is None:
        image_HWC = np.repeat(mask_HW[:, :, None] * 10, 3, axis=2).astype(np.uint8)
    for folder in ("images", "masks"):
        (root / part / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_HWC).save(root / part / "images" / f"{name}.png")
    mask = Image.fromarray(mask_HW.astype(np.uint8))
    if mode == "P":
        mask.putpalette([255 - i // 3 for i in range(768)])
    elif mode != "L":
        mask = mask.convert(mode)
    mask.save(root / part / "masks" / f"{name}.png")


def a_mask(seed=0, height=8, width=6):
    mask_HW = np.random.default_rng(seed).integers(0, 3, (height, width)).astype(np.uint8)
    mask_HW[0, 0] = IGNORE
    return mask_HW


@pytest.fixture
def root(tmp_path):
    for index in range(3):
        save(tmp_path, "train", f"a{index}", a_mask(index), mode="P" if index == 1 else "L")
    save(tmp_path, "test", "t", a_mask(9))
    (tmp_path / "classes.txt").write_text(CLASSES)
    return tmp_path


def load(root, **changes):
    config = default_config("reseg").data
    config.update({"source": f"masks:{root}", **changes})
    return load_source(config, 0)


def test_images_of_twelve_bits_in_sixteen_and_masks_of_eight(root):
    for path in (root / "train/images").iterdir():
        Image.fromarray(np.full((8, 6), 4000, np.uint16)).save(path)
    source = load(root, bit_depth=12)
    example = source.train.read(0)
    assert (example["image"] == 250).all()
    np.testing.assert_array_equal(example["mask"], a_mask(0))
    assert source.fingerprint != load(root).fingerprint


def test_images_and_masks_are_read_in_pairs(root):
    source = load(root)
    assert source.class_names == ("sky", "road", "car")
    assert source.input_shape == (8, 6, 3)
    assert (len(source.train), len(source.test)) == (3, 1)
    for index in range(3):
        example = source.train.read(index)
        np.testing.assert_array_equal(example["mask"], a_mask(index))
        assert example["mask"].dtype == np.uint8
        counted = example["mask"] != IGNORE
        np.testing.assert_array_equal(
            example["image"][counted][:, 0], 10 * example["mask"][counted]
        )
    np.testing.assert_array_equal(source.test.read(0)["mask"], a_mask(9))


def test_without_names_classes_are_numbers(root):
    (root / "classes.txt").unlink()
    assert load(root).class_names == ("0", "1", "2")


def test_numbers_that_no_mask_has_are_told(root, capsys):
    (root / "classes.txt").unlink()
    load(root)
    assert capsys.readouterr().err == ""
    path = next((root / "train").rglob("masks/*.png"))
    mask_HW = np.asarray(Image.open(path)).copy()
    mask_HW[0, 0] = 77
    Image.fromarray(mask_HW).save(path)
    assert len(load(root).class_names) == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert "the numbers 0 to 77, and no training mask has 3 or 73 others; if 77 is" in line


def test_val_and_held_out_parts(root, tmp_path):
    (root / "test").rename(root / "val")
    assert len(load(root).test) == 1
    flat = tmp_path / "flat"
    for index in range(40):
        save(flat, "", f"a{index}", a_mask(index))
    source = load(flat, test_fraction=0.3)
    assert len(source.train) + len(source.test) == 40
    assert 3 < len(source.test) < 25
    with pytest.raises(UserError, match=r"'data.test_fraction'"):
        load(flat, test_fraction=0.0)


def test_splits_in_any_case_and_a_validation_part(root, capsys):
    (root / "train").rename(root / "Train")
    (root / "test").rename(root / "TEST")
    save(root, "Val", "v", a_mask(5))
    source = load(root)
    assert (len(source.train), len(source.test)) == (3, 1)
    assert source.validation is not None
    np.testing.assert_array_equal(source.validation.read(0)["mask"], a_mask(5))
    assert capsys.readouterr().err == ""
    save(root, "more", "v", a_mask(5))
    assert load(root, validation=0.3).validation is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "left out Val (the validation part is held out of train" in line
    assert "nor val: more)" in line


def test_folders_below_and_what_is_left_out(root, capsys):
    save(root, "train", "a9", a_mask(7))
    for name in _pair(root, "a9"):
        name.parent.joinpath("b").mkdir()
        name.rename(name.parent / "b" / name.name)
    source = load(root)
    assert len(source.train) == 4
    np.testing.assert_array_equal(source.train.read(3)["mask"], a_mask(7))
    assert capsys.readouterr().err == ""
    (root / "train" / "images" / "b" / "a9.png").unlink()
    (root / "train" / "images" / "notes.txt").touch()
    assert len(load(root).train) == 3
    assert capsys.readouterr().err == (
        f"'{root / 'train'}': left out 1 (another kind by its name: images/notes.txt); "
        "1 (a mask without an image: masks/b/a9.png)\n"
    )
    (root / "train" / "masks" / "c.png").symlink_to("absent.png")
    with pytest.raises(UserError, match=r"masks/c\.png': expected images that can be read"):
        load(root)


def _pair(root, name):
    return [root / "train" / folder / f"{name}.png" for folder in ("images", "masks")]


@pytest.mark.parametrize(("height", "width", "size"), [(9, 27, 3), (10, 7, 5), (12, 12, 4)])
def test_masks_are_resized_as_their_images(height, width, size):
    """Where blocks of one class become one pixel each, both have that class."""
    mask_HW = np.random.default_rng(0).integers(0, 3, (size, size)).astype(np.uint8)
    times = min(height, width) // size
    big = mask_HW.repeat(times, axis=0).repeat(times, axis=1)
    top, left = (height - times * size) // 2, (width - times * size) // 2
    whole = np.full((height, width), 99, np.uint8)
    whole[top : top + len(big), left : left + len(big)] = big
    if (
        (height - len(big)) % 2 == 0
        and (width - len(big)) % 2 == 0
        and len(big) == min(height, width)
    ):
        np.testing.assert_array_equal(fit_map(whole, size, size), mask_HW)
    image_HWC = to_shape(np.repeat(whole[:, :, None] * 20, 3, axis=2), (size, size, 3))
    assert fit_map(whole, size, size).shape == image_HWC.shape[:2]
    # A vertical edge stays within a pixel of where the image has it.
    edge = (np.arange(width) >= width // 2).astype(np.uint8)[None].repeat(height, axis=0)
    seen = to_shape(np.repeat(edge[:, :, None] * 255, 3, axis=2), (size, size, 3))[..., 0] / 255
    assert np.all(np.abs(seen - fit_map(edge, size, size)) <= 0.75)


def test_resized_examples(root):
    example = load(root, image_size=4).train.read(0)
    assert example["image"].shape == (4, 4, 3)
    np.testing.assert_array_equal(example["mask"], fit_map(a_mask(0), 4, 4))


def wrong_size(root):
    save(root, "train", "a1", a_mask(1, 5, 6), np.zeros((8, 6, 3), np.uint8))


def wrong_class(root):
    mask_HW = a_mask(1)
    mask_HW[3, 2] = 7
    save(root, "train", "a1", mask_HW)


def in_colours(root):
    save(root, "train", "a1", a_mask(1), mode="RGB")


def other_image_size(root):
    save(root, "train", "a1", a_mask(1, 5, 6))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_size, r"masks/a1\.png.*8x6 pixels as its image, found 5x6"),
        (wrong_class, r"masks/a1\.png.*0 to 2 and 255.*found 7.*classes\.txt"),
        (in_colours, r"masks/a1\.png.*one channel.*found mode RGB"),
        (other_image_size, r"images/a1\.png.*8x6.*found 5x6.*'data\.image_size'"),
    ],
)
def test_wrong_masks_are_named_when_they_are_read(root, spoil, message):
    spoil(root)
    with pytest.raises(UserError, match=message) as error:
        load(root).train.read(1)
    assert not isinstance(error.value, CorruptImageError)  # skip_corrupt does not hide it


def test_an_unreadable_mask_is_a_corrupt_example(root):
    (root / "train" / "masks" / "a2.png").write_bytes(b"no image")
    with pytest.raises(CorruptImageError, match=r"masks/a2\.png"):
        load(root).train.read(2)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: (r / "train/masks/a1.png").unlink(), r"images/a1\.png.*'a1\.png' in .*masks"),
        (lambda r: (r / "test").rename(r / "other"), "'test' or 'val' beside 'train'"),
        (lambda r: (r / "test/masks").rename(r / "test/m"), "'images' and 'masks', found no"),
        (lambda r: (r / "classes.txt").write_text("a\na\n"), "different names"),
        (lambda r: (r / "classes.txt").write_text("caf\u00e9\ncafe\u0301\n"), "different names"),
        (lambda r: (r / "train/images/a1.jpg").touch(), r"'train/images/a1\.jpg' and '.*a1\.png'"),
        (lambda r: (r / "train/masks/a1.tif").touch(), r"'train/masks/a1\.png' and '.*a1\.tif'"),
        (lambda r: [p.unlink() for p in (r / "test/images").iterdir()], "expected images, found"),
    ],
)
def test_a_wrong_folder_is_an_error_at_the_start(root, spoil, message):
    spoil(root)
    with pytest.raises(UserError, match=message):
        load(root)


def test_no_folder():
    with pytest.raises(UserError, match="expects a folder, found no"):
        load("/nonexistent")


def test_max_pixels_is_read_for_masks(root):
    save(root, "train", "a1", a_mask(1, 30, 40), np.zeros((8, 6, 3), np.uint8))
    with pytest.raises(CorruptImageError, match=r"masks/a1\.png: .*40x30 pixels, at most 1000"):
        load(root, max_pixels=1000).train.read(1)
    (root / "classes.txt").unlink()
    with pytest.raises(CorruptImageError, match=r"masks/a1\.png: .*40x30 pixels, at most 1000"):
        load(root, max_pixels=1000)


def test_names_of_classes_are_utf_8(root):
    (root / "classes.txt").write_bytes("\ufeffsky\nroad\ncar\n".encode())
    assert load(root).class_names == ("sky", "road", "car")
    (root / "classes.txt").write_bytes("sky\nstraße\ncar\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"classes\.txt': expected names in UTF-8"):
        load(root)
