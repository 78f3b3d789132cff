import copy
import io
import json
import os
import pickle
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn_jax.config import default_config
from crnn_jax.data.sources import load_source
from crnn_jax.data.tfds_metadata import data_dir
from crnn_jax.errors import CorruptImageError, UserError
from tests.data.toy_tfds import png, write_toy


def load(folder, name="toy", **changes):
    config = copy.deepcopy(default_config("crnn").data)
    for key, value in {"source": f"tfds:{name}", "dir": str(folder), **changes}.items():
        config[key] = value
    return load_source(config, 0)


TRAIN = [(png(10), 0), (png(20), 1), (png(30), 0)]
TEST = [(png(40), 1), (png(50), 0)]


@pytest.fixture
def toy(tmp_path):
    return write_toy(tmp_path / "toy/1.0.0", {"train": TRAIN, "test": TEST})


def contents(split):
    examples = map(split.read, range(len(split)))
    return [(int(e["image"][0, 0, 0]), int(e["label"])) for e in examples]


def test_reads_both_splits(toy):
    source = load(toy)
    assert source.name == "tfds:toy"
    assert source.class_names == ("ant", "bee")
    assert source.input_shape == (2, 3, 3)  # of the first image, since TFDS says (None, None, 3)
    assert contents(source.train) == [(10, 0), (20, 1), (30, 0)]
    assert contents(source.test) == [(40, 1), (50, 0)]
    assert (source.train.name, source.test.name) == ("train", "test")


def test_a_labelled_validation_split_beside_test_is_the_validation_part(tmp_path, capsys):
    held = [(png(60), 1)]
    write_toy(tmp_path / "toy/1.0.0", {"train": TRAIN, "validation": held, "test": TEST})
    source = load(tmp_path)
    assert contents(source.test) == [(40, 1), (50, 0)]
    assert contents(source.validation) == [(60, 1)]
    assert [file.path for file in source.files["validation"].files] == [
        "toy-validation.array_record-00000-of-00001"
    ]
    assert capsys.readouterr().err == ""
    assert load(tmp_path, validation=0.5).validation is None
    assert "left out split 'validation', since 'data.validation' is 0.5" in capsys.readouterr().err


def test_splits_that_are_not_used_are_named_in_one_line(tmp_path, capsys):
    unlabelled = [(png(0), -1)]
    splits = {"train": TRAIN, "test": unlabelled, "validation": TEST, "extra": TRAIN}
    write_toy(tmp_path / "toy/1.0.0", splits)
    assert contents(load(tmp_path).test) == [(40, 1), (50, 0)]
    assert capsys.readouterr().err == (
        f"'{tmp_path}/toy/1.0.0': left out split 'test', since its first example has no label; "
        "split 'extra', since it is neither train, test nor validation\n"
    )
    write_toy(tmp_path / "toy/1.0.1", {"train": TRAIN, "test": TEST, "validation": unlabelled})
    assert load(tmp_path).validation is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("left out split 'validation', since its first example has no label")


def test_read_many_equals_read(toy):
    split = load(toy).train
    many: Any = split.read_many([2, 0, 2])
    for found, index in zip(many, [2, 0, 2], strict=True):
        np.testing.assert_array_equal(found["image"], split.read(index)["image"])
        assert found["label"] == split.read(index)["label"]
    assert split.read_many([]) == []


def test_splits_can_be_pickled(toy):
    split = load(toy).train
    split.read(0)  # its files are open now
    assert contents(pickle.loads(pickle.dumps(split))) == [(10, 0), (20, 1), (30, 0)]


def test_versions(toy):
    write_toy(toy / "toy/1.10.0", {"train": TRAIN[:1], "test": TEST})
    write_toy(toy / "toy/1.9.0", {"train": TRAIN[:2], "test": TEST})
    (toy / "toy/2.0.0.incompleteXYZ").mkdir()
    assert len(load(toy).train) == 1
    assert len(load(toy, "toy:1.9.0").train) == 2
    with pytest.raises(
        UserError, match=r"1\.0\.0, 1\.9\.0, 1\.10\.0; found '1\.9\.1' .did you mean"
    ):
        load(toy, "toy:1.9.1")


def test_validation_is_the_test_split_where_no_test_has_labels(tmp_path):
    unlabelled = [(png(0), -1)]
    splits = {"train": TRAIN, "validation": TEST}
    one = write_toy(tmp_path / "a/toy/1.0.0", splits)
    two = write_toy(tmp_path / "b/toy/1.0.0", {"test": unlabelled, **splits})
    for folder in (one, two):
        assert load(folder).test.name == "validation"
        assert contents(load(folder).test) == [(40, 1), (50, 0)]
    three = write_toy(tmp_path / "c/toy/1.0.0", {"train": TRAIN, "test": unlabelled})
    with pytest.raises(UserError, match="expected a labelled split"):
        load(three)
    four = write_toy(tmp_path / "d/toy/1.0.0", {"test": TEST})
    with pytest.raises(UserError, match="expected a split 'train', found test"):
        load(four)


def test_one_channel_stays_gray(tmp_path):
    gray = [(png(7, (2, 2, 1)), 0)]
    folder = write_toy(tmp_path / "toy/1.0.0", {"train": gray, "test": gray}, ("2", "2", "1"))
    source = load(folder)
    assert source.input_shape == source.train.read(0)["image"].shape == (2, 2, 1)
    assert load(folder, image_size=3).train.read(0)["image"].shape == (3, 3, 1)


def test_image_size_zero_needs_one_size(tmp_path):
    train = [*TRAIN, (png(1, (5, 3, 3)), 0)]
    folder = write_toy(tmp_path / "toy/1.0.0", {"train": train, "test": TEST})
    with pytest.raises(UserError, match=r"toy train record 3: .*2x3.*5x3.*'data.image_size'"):
        load(folder).train.read(3)
    source = load(folder, image_size=4)
    examples: Any = source.train.read_many(range(4))
    assert {e["image"].shape for e in examples} == {(4, 4, 3)}


def test_corrupt_image_is_named(tmp_path):
    train = [(b"no image", 0), *TRAIN]
    folder = write_toy(tmp_path / "toy/1.0.0", {"train": train, "test": TEST})
    with pytest.raises(CorruptImageError, match="tfds:toy train record 0"):
        load(folder)
    source = load(folder, skip_corrupt=True)
    assert source.input_shape == (2, 3, 3)
    found: Any = source.train.read_many([0, 1])
    assert isinstance(found[0], CorruptImageError)
    assert found[1]["label"] == 0


def test_label_outside_the_classes_is_named(tmp_path):
    folder = write_toy(tmp_path / "toy/1.0.0", {"train": [*TRAIN, (png(1), 2)], "test": TEST})
    with pytest.raises(
        UserError, match="toy train record 3: expected a label from 0 to 1, found 2"
    ):
        load(folder).train.read(3)


def test_twelve_bits_of_sixteen(tmp_path):
    """The first image, which says the size where none is set, is read in the depth too."""
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3), 4000, np.uint16)).save(file, "PNG")
    splits = {"train": [(file.getvalue(), 0), (png(7), 1)], "test": [(png(8), 1)]}
    folder = write_toy(tmp_path / "toy/1.0.0", splits)
    source = load(folder, bit_depth=12)
    assert [int(source.train.read(i)["image"][0, 0, 0]) for i in range(2)] == [250, 7]
    assert source.fingerprint != load(folder).fingerprint
    with pytest.raises(CorruptImageError, match=r"train record 0: .* at most 2047 .*found 4000"):
        load(folder, bit_depth=11)


def test_fingerprint(toy):
    base = load(toy).fingerprint
    assert load(toy).fingerprint == load(toy, "toy:1.0.0").fingerprint == base
    assert load(toy, image_size=4).fingerprint != base
    os.utime(next((toy / "toy/1.0.0").glob("toy-train*")), ns=(1, 1))
    assert load(toy).fingerprint != base


def test_data_dir(tmp_path, monkeypatch, toy):
    monkeypatch.setenv("TFDS_DATA_DIR", str(toy))
    assert data_dir("") == toy
    assert len(load("").train) == 3
    assert data_dir(str(tmp_path / "x")) == tmp_path / "x"
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_dir("") == tmp_path / "tensorflow_datasets"
    assert data_dir("~/y") == tmp_path / "y"


def test_missing_folder_names_it_and_what_to_do(tmp_path, toy):
    for folder in (tmp_path / "absent", toy):
        with pytest.raises(UserError) as caught:
            load(folder, "cifar10")
        message = str(caught.value)
        assert f"'{folder}/cifar10'" in message
        assert f"`python -m crnn_jax.data.prepare cifar10 --data_dir={folder}`" in message
        assert "'data.dir'" in message
        assert "$TFDS_DATA_DIR" in message
    with pytest.raises(UserError, match=r"toys', found no such folder .did you mean 'toy'"):
        load(toy, "toys")
    with pytest.raises(UserError, match="did you mean 'cifar10'"):
        load(tmp_path / "absent", "cifar_10")


def test_folder_without_a_data_set(toy):
    (toy / "toy/1.0.0/features.json").unlink()
    with pytest.raises(UserError, match=r"toy/1\.0\.0': expected a TFDS data set"):
        load(toy)
    shutil.rmtree(toy / "toy/1.0.0")
    with pytest.raises(
        UserError, match=r"expects a folder such as 1\.0\.0 .*toy', found none; set"
    ):
        load(toy)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", None, "found it unreadable .*; prepare it again"),
        ("shardLengths", [], "expected examples in split 'train', found none"),
        ("shardLengths", ["-1"], "found it unreadable"),
    ],
)
def test_damaged_facts_are_one_line(toy, key, value, message):
    path = toy / "toy/1.0.0/dataset_info.json"
    info = json.loads(path.read_text())
    place = info if key in info else next(s for s in info["splits"] if s["name"] == "train")
    place[key] = value
    path.write_text(json.dumps(info))
    with pytest.raises(UserError, match=message):
        load(toy)


@pytest.mark.parametrize(
    ("names", "found"),
    [("a\n", "1 lines, 1"), ("a\nb\nc\n", "3 lines, 3"), ("a\nb\nb\n", "3 lines, 2")],
)
def test_names_of_classes_are_as_many_as_there_are(toy, names, found):
    (toy / "toy/1.0.0/label.labels.txt").write_text(names)
    expected = rf"expected 2 names of classes, each once, found {found} of them different"
    with pytest.raises(UserError, match=expected):
        load(toy)


def test_other_kinds_of_data(toy, tmp_path):
    text = write_toy(tmp_path / "b/toy/1.0.0", {"train": TRAIN, "test": TEST}, label_kind="text")
    with pytest.raises(UserError, match="expected an image and its class label"):
        load(text)
    info = toy / "toy/1.0.0/dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match="expected array_record files, found tfrecord"):
        load(toy)


def test_real_cifar10(tfds_dir):
    source = load(tfds_dir, "cifar10")
    assert source.input_shape == (32, 32, 3)
    assert (len(source.train), len(source.test)) == (50_000, 10_000)
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    assert source.class_names == tuple(names.split())
    image_HWC, label = source.train.read(0).values()
    # Record 0 is image 16,399 of the official training set, a horse.
    assert (label, int(image_HWC.sum(dtype=np.int64))) == (7, 447_224)
    assert image_HWC[0, 0].tolist() == [143, 96, 70]
    assert image_HWC[31, 31].tolist() == [221, 187, 157]
    examples: Any = source.train.read_many([0, 1, 2, 49_999])
    assert [e["label"] for e in examples] == [7, 8, 4, 4]
    assert source.test.read(9_999)["label"] == 0
