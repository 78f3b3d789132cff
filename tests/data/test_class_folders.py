"""Layouts of image folders, and what is said of what they leave out."""

import copy
import unicodedata

import pytest
from PIL import Image

from crnn_jax.config import default_config
from crnn_jax.data.sources import load_source
from crnn_jax.errors import UserError

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def load(path, **changes):
    config = copy.deepcopy(default_config("crnn").data)
    for key, value in {"source": f"folder:{path}", "image_size": 4, **changes}.items():
        config[key] = value
    return load_source(config, 0)


def save(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, "PNG")


def counts(source):
    return len(source.train), len(source.test)


@pytest.fixture
def divided(tmp_path):
    """train: cat 1, dog 1. test: dog 1."""
    save(tmp_path / "train/cat/a.png", tmp_path / "train/dog/b.png", tmp_path / "test/dog/c.png")
    return tmp_path


def test_folders_below_a_class_are_its_images(divided, capsys):
    save(divided / "train/cat/2024/may/d.png", divided / "test/dog/x.png/e.jpg")
    source = load(divided)
    assert source.train.group_N is not None
    assert source.train.group_N.tolist() == [0, 0, 1]
    assert counts(source) == (3, 2)
    assert source.train.read(0)["image"].shape == (4, 4, 3)
    assert capsys.readouterr().err == ""


def test_every_name_that_can_be_read_is_taken(divided):
    for name in ("a.avif", "b.AVIF", "c.pbm"):
        save(divided / "train/cat" / name)
    assert len(load(divided).train) == 5


def test_one_line_says_what_is_left_out(divided, capsys):
    save(divided / "train/stray.png")
    for name in ("cat/a.heic", "cat/b.heic", "cat/c.heic", "labels.csv"):
        (divided / "train" / name).write_bytes(b"")
    (divided / "train/cat/again").symlink_to("../dog")
    load(divided)
    assert capsys.readouterr().err == (
        f"'{divided}/train': left out 4 (another kind by its name: cat/a.heic, cat/b.heic, ...); "
        "1 (a link to a folder that is read elsewhere: cat/again); "
        "1 (not in a class's folder: stray.png)\n"
    )


def test_val_beside_test_is_the_validation_part(divided):
    assert load(divided).validation is None
    save(divided / "Valid/dog/v.png", divided / "Valid/dog/w.png")
    source = load(divided)
    assert counts(source) == (2, 1)
    assert source.validation is not None
    assert source.validation.name == "validation"
    assert [source.validation.read(i)["label"] for i in range(2)] == [1, 1]
    save(divided / "Valid/dgo/v.png")
    with pytest.raises(UserError, match=r"Valid/dgo': .*found 'dgo' .did you mean 'dog'"):
        load(divided)


def test_folders_that_are_not_read_are_named(divided, capsys):
    save(divided / "val/cat/v.png", divided / "extra/x.png")
    assert load(divided, validation=0.1).validation is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"'{divided}': left out val (the validation part is held out of train")
    assert "1 (neither train, test nor val: extra)" in line
    (divided / "val/cat").rename(divided / "cat")
    assert load(divided).validation is None
    assert "left out val (there are no folders in it); " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("train", "test"),
    [("Train", "Test"), ("TRAIN", "valid"), ("train", "Validation"), ("train", "VAL")],
)
def test_names_of_splits(divided, train, test):
    (divided / "train").rename(divided / "t")
    (divided / "t").rename(divided / train)
    (divided / "test").rename(divided / "u")
    (divided / "u").rename(divided / test)
    source = load(divided)
    assert source.class_names == ("cat", "dog")
    assert counts(source) == (2, 1)


def test_the_plain_name_comes_first(divided, capsys):
    save(divided / "Train/emu/x.png")
    assert load(divided).class_names == ("cat", "dog")
    assert "neither train, test nor val: Train" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train", "test", "valid", "Train"])
def test_a_class_may_have_a_split_s_name(tmp_path, name, capsys):
    for folder in ("bus", name, "car"):
        save(*(tmp_path / folder / f"{i}.png" for i in range(20)))
    source = load(tmp_path)
    assert source.class_names == tuple(sorted(("bus", "car", name)))
    assert sum(counts(source)) == 60
    assert f"'{name}' too" in capsys.readouterr().err


def test_valid_beside_its_opposite(tmp_path):
    for folder in ("invalid", "valid"):
        save(*(tmp_path / folder / f"{i}.png" for i in range(20)))
    assert load(tmp_path).class_names == ("invalid", "valid")


def test_advice_for_a_class_of_that_name_can_be_followed(tmp_path):
    for folder in ("bus", "train/steam"):
        save(*(tmp_path / folder / f"{i}.png" for i in range(20)))
    with pytest.raises(UserError, match="if 'train' is a class, its images must lie in it"):
        load(tmp_path)
    (tmp_path / "train/steam/0.png").rename(tmp_path / "train/0.png")
    assert load(tmp_path).class_names == ("bus", "train")


def test_unlabelled_images_are_no_classes(tmp_path):
    save(*(tmp_path / part / f"{i}.png" for part in ("train", "test") for i in range(20)))
    said = "for each class, found none: move those of each class into one; if 'train' is a class"
    with pytest.raises(UserError, match=f"{said}, rename it"):
        load(tmp_path)
    (tmp_path / "train").rename(tmp_path / "steam")
    (tmp_path / "test").rename(tmp_path / "exam")
    assert load(tmp_path).class_names == ("exam", "steam")


def test_composed_and_decomposed_names_are_one_class(tmp_path):
    save(tmp_path / "train" / NFD / "a.png", tmp_path / "train/tea/b.png")
    save(tmp_path / "test" / NFC / "c.png", tmp_path / "train" / NFC / "d.png")
    source = load(tmp_path)
    assert source.class_names == (NFC, "tea")
    assert counts(source) == (3, 1)
    assert [source.train.read(i)["label"] for i in range(3)] == [0, 0, 1]


def test_the_held_out_part_is_the_same_for_both_forms(tmp_path):
    held = []
    for form in (NFC, NFD):
        root = tmp_path / f"{len(held)}"
        save(*(root / form / f"{i}.png" for i in range(40)), root / "tea/a.png")
        source = load(root, test_fraction=0.3)
        held.append([unicodedata.normalize("NFC", path) for path in source.test.read.paths])
    assert held[0] == held[1]
    assert len(held[0]) > 3


def test_a_broken_link_is_one_line_and_can_be_skipped(divided, capsys):
    (divided / "train/cat/broken.png").symlink_to("absent.png")
    (divided / "train/dog/loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(
        UserError, match=r"train/cat/broken\.png.*broken link .and 1 more.*skip_cor"
    ):
        load(divided)
    assert counts(load(divided, skip_corrupt=True)) == (2, 1)
    assert "1 (a broken link: cat/broken.png)" in capsys.readouterr().err


def test_looping_folders_are_no_classes(divided):
    (divided / "train/loop").symlink_to("..")
    with pytest.raises(UserError, match=r"train/loop.*found none .a link to a folder that holds"):
        load(divided)


def test_folders_that_cannot_be_read(divided, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("os.listdir", refuse)
        with pytest.raises(UserError, match="folder that can be read, found: Permission denied"):
            load(divided)
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(UserError, match=r"train'.*not readable: Permission denied"):
        load(divided)
    with pytest.raises(UserError, match=r"train/cat'.*of class 'cat', found none"):
        load(divided, skip_corrupt=True)
