import copy
import hashlib
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from crnn_jax.config import config_of_flat, default_config, flatten, override
from crnn_jax.data.sources import load_source
from crnn_jax.errors import CorruptImageError, UserError


def load(path, **changes):
    config = copy.deepcopy(default_config("crnn").data)
    for key, value in {"source": f"folder:{path}", **changes}.items():
        config[key] = value
    return load_source(config, 0)


def save(path, value=0, size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path, "PNG")


@pytest.fixture
def divided(tmp_path):
    """train: cat 1, 2; dog 3. test: dog 4, 5."""
    for value, name in enumerate(["train/cat/a.png", "train/cat/b.PNG", "train/dog/c.Png"], 1):
        save(tmp_path / name, value)
    for value, name in enumerate(["test/dog/d.png", "test/dog/e.png"], 4):
        save(tmp_path / name, value)
    return tmp_path


@pytest.fixture
def flat(tmp_path):
    for label, name in enumerate(("ant", "bee")):
        for i in range(40):
            save(tmp_path / name / f"{i}.png", 100 * label + i)
    return tmp_path


def test_images_may_be_rectangles(tmp_path):
    """The largest centred part of the wanted form is taken, as of squares."""
    pixels_HWC = np.zeros((40, 60, 3), np.uint8)
    pixels_HWC[:, 20:40] = 255  # the middle third of the width
    for name in ("train/a/0.png", "test/a/0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels_HWC).save(tmp_path / name)
    config = default_config("crnn")
    override(config, "data.source", f"folder:{tmp_path}")
    override(config, "data.image_size", "(8, 4)")
    source = load_source(config.data, 0)
    assert source.input_shape == (8, 4, 3)
    image_HWC = source.train.read(0)["image"]
    assert image_HWC[:, 1:3].min() == 255  # 20 of 60 pixels wide
    assert image_HWC.min() > 200
    other = config_of_flat({**flatten(config), "data.image_size": [4, 8]})
    assert load_source(other.data, 0).fingerprint != source.fingerprint
    override(config, "data.source", "digits")
    with pytest.raises(UserError, match=r"expects one number for 'digits'.*found \(8, 4\)"):
        load_source(config.data, 0)


def contents(split):
    examples = map(split.read, range(len(split)))
    return [(int(e["image"][0, 0, 0]), int(e["label"])) for e in examples]


def test_train_and_test_folders(divided):
    source = load(divided)
    assert source.class_names == ("cat", "dog")
    assert source.input_shape == (3, 4, 3)
    assert contents(source.train) == [(1, 0), (2, 0), (3, 1)]
    assert contents(source.test) == [(4, 1), (5, 1)]  # the label is train's, though test has no cat
    assert source.train.group_N is not None
    assert source.train.group_N.tolist() == [0, 0, 1]
    assert (source.train.name, source.test.name) == ("train", "test")


def test_val_is_the_test_split_where_there_is_no_test(divided):
    save(divided / "val/cat/z.png", 9)
    assert len(load(divided).test) == 2
    (divided / "test").rename(divided / "other")
    assert contents(load(divided).test) == [(9, 0)]


def test_hidden_and_other_files_are_ignored(divided):
    save(divided / "train/cat/.hidden.png")
    save(divided / "train/.cache/x.png")
    (divided / "train/cat/notes.txt").write_text("no image")
    (divided / "train/cat/folder.png").mkdir()
    assert contents(load(divided).train) == [(1, 0), (2, 0), (3, 1)]


def test_held_out_by_hash(flat):
    source = load(flat, test_fraction=0.25)
    train, test = contents(source.train), contents(source.test)
    assert sorted(train + test) == [(i, 0) for i in range(40)] + [(100 + i, 1) for i in range(40)]
    assert 10 <= len(test) <= 30  # 20 expected, deviation 3.9
    # Below a quarter: the first byte of the hash is below 64.
    digests = [hashlib.sha256(f"ant/{i}.png".encode()).digest() for i in range(40)]
    assert {value for value, label in test if label == 0} == {
        i for i in range(40) if digests[i][0] < 64
    }
    assert contents(load(flat, test_fraction=0.25).test) == test
    larger = contents(load(flat, test_fraction=0.5).test)
    assert set(test) < set(larger)


def test_an_image_does_not_change_sides(flat, tmp_path):
    before = set(contents(load(flat).test))
    save(flat / "ant/new.png", 77)
    (flat / "bee/5.png").unlink()
    after = set(contents(load(flat).test))
    assert before - after <= {(105, 1)}
    assert after - before <= {(77, 0)}


def test_relative_path_and_home(divided, monkeypatch):
    monkeypatch.chdir(divided.parent)
    relative = load(divided.name)
    monkeypatch.chdir("/")  # an open split does not depend on the current folder
    assert contents(relative.train) == [(1, 0), (2, 0), (3, 1)]
    monkeypatch.setenv("HOME", str(divided.parent))
    assert len(load(f"~/{divided.name}").train) == 3


def test_fingerprint(divided):
    base = load(divided).fingerprint
    assert load(divided).fingerprint == base
    assert load(divided, image_size=4).fingerprint != base
    os.utime(divided / "test/dog/d.png", ns=(1, 1))
    changed = load(divided).fingerprint
    assert changed != base
    save(divided / "train/dog/more.png")
    assert load(divided).fingerprint not in (base, changed)


def test_image_size_zero_needs_one_size(divided):
    save(divided / "train/dog/wide.png", size=(9, 3))
    source = load(divided)  # is checked when read
    with pytest.raises(UserError, match=r"wide\.png: .*3x4.*3x9.*'data.image_size'"):
        source.train.read(3)
    resized = load(divided, image_size=8)
    assert (
        {resized.train.read(i)["image"].shape for i in range(4)}
        == {(8, 8, 3)}
        == {resized.input_shape}
    )


def test_corrupt_image_is_named(divided):
    (divided / "train/dog/c.Png").write_bytes(b"no image")
    source = load(divided)
    with pytest.raises(CorruptImageError, match=r"train/dog/c\.Png"):
        source.train.read(2)
    assert isinstance(source.train.read_many([0, 2])[1], CorruptImageError)


def test_corrupt_first_image(divided):
    (divided / "train/cat/a.png").write_bytes(b"no image")
    with pytest.raises(CorruptImageError, match=r"cat/a\.png"):
        load(divided)
    assert load(divided, skip_corrupt=True).input_shape == (3, 4, 3)
    for name in ("cat/b.PNG", "dog/c.Png"):
        (divided / "train" / name).write_bytes(b"no image")
    with pytest.raises(UserError, match="readable training image, found none of 3"):
        load(divided, skip_corrupt=True)


def test_missing_or_empty_folder(tmp_path):
    with pytest.raises(UserError, match=r"'data.source'.*found no '.*absent'"):
        load(tmp_path / "absent")
    with pytest.raises(UserError, match="a folder of images for each class, found none"):
        load(tmp_path)


def test_class_without_images(divided):
    (divided / "train/emu").mkdir()
    with pytest.raises(UserError, match=r"train/emu': expected images .* class 'emu', found none"):
        load(divided)


def test_class_that_train_lacks(divided):
    save(divided / "test/dogs/x.png")
    with pytest.raises(UserError, match=r"test/dogs': .*found 'dogs' .did you mean 'dog'"):
        load(divided)


@pytest.mark.parametrize(
    ("missing", "expected"), [("test", "'test' or 'val'"), ("train", "'train'")]
)
def test_half_a_layout(divided, missing, expected):
    (divided / missing).rename(divided / "other")
    with pytest.raises(UserError, match=f"expected {expected} beside .*other"):
        load(divided)


def test_fraction_that_empties_a_split(flat):
    with pytest.raises(UserError, match=r"test split, found none of 80.*'data.test_fraction'"):
        load(flat, test_fraction=0.0)
    with pytest.raises(UserError, match=r"images to train on, found all 40.*'data.test_fraction'"):
        load(flat, test_fraction=0.9999)


def test_splits_can_be_pickled(divided):
    split = load(divided).train
    copied = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(copied.read(2)["image"], split.read(2)["image"])
