"""What a run keeps of its data, and what is said of data that differ."""

import copy
import shutil

import numpy as np
import pytest
from PIL import Image

from crnn_jax.config import default_config
from crnn_jax.data import record
from crnn_jax.data.sources import load_source

OLD = {
    "input_shape": [4, 4, 3],
    "class_names": ["ant", "bee", "cow"],
    "num_train": 9,
    "splits": {
        "train": {"num_examples": 9, "content": "a1"},
        "test": {"num_examples": 3, "content": "b1"},
    },
}


def changed(**keys):
    return {**copy.deepcopy(OLD), **keys}


def splits(train=(9, "a1"), test=(3, "b1"), **others):
    parts = {"train": train, "test": test, **others}
    return {
        name: {"num_examples": part[0], "content": part[1]}
        for name, part in parts.items()
        if part is not None
    }


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, []),
        ({"class_names": ["ant", "cow"]}, ["class 'bee' is missing"]),
        ({"class_names": ["ant", "be", "cow"]}, ["class 'bee' is missing", "class 'be' is new"]),
        (
            {"class_names": [*OLD["class_names"], *"defg"]},
            ["4 classes 'd', 'e', 'f', ... are new"],
        ),
        ({"class_names": ["bee", "ant", "cow"]}, ["the classes are in another order"]),
        ({"input_shape": [8, 4, 3]}, ["the shape is 8x4x3, in training it was 4x4x3"]),
        ({"splits": splits(train=(8, "a2"))}, ["the train split has 8 examples, in training it"]),
        ({"splits": splits(test=(3, "b2"))}, ["the test split has other contents or file names"]),
        ({"splits": splits(validation=(3, "c"))}, ["a validation split is new"]),
        ({"num_train": 8}, []),  # says nothing that the splits do not
    ],
)
def test_differences_are_named(found, words):
    different = record.differences(OLD, changed(**found))
    assert len(different) == len(words)
    for phrase, expected in zip(different, words, strict=True):
        assert phrase.startswith(expected)


def test_a_split_that_is_gone():
    old = changed(splits=splits(validation=(3, "c")))
    assert record.differences(old, OLD) == ["a validation split is missing"]


def test_what_older_versions_did_not_write_is_not_compared():
    old = {key: value for key, value in OLD.items() if key != "splits"}
    for damaged in ({}, {"splits": 5}, {"splits": {"train": []}}, {"splits": {"train": {}}}):
        assert record.differences({**old, **damaged}, OLD) == []
    (phrase,) = record.differences(old, changed(num_train=8))
    assert phrase == "there are 8 examples to train on, in training there were 9"


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for name, value in (("ant", 10), ("bee", 90)):
            for index in range(count):
                path = tmp_path / "photos" / part / name / f"{index}.bmp"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((4, 4, 3), value + index, np.uint8)).save(path)
    return tmp_path / "photos"


def described(folder, cache):
    data_config = copy.deepcopy(default_config("crnn").data)
    data_config.source = f"folder:{folder}"
    source = load_source(data_config, 0)
    return record.describe(source, len(source.train), cache)


def test_a_folder_is_described(folder, tmp_path):
    facts = described(folder, tmp_path / "cache")
    contents = [split.pop("content") for split in facts["splits"].values()]
    assert facts == {
        "input_shape": [4, 4, 3],
        "class_names": ["ant", "bee"],
        "num_train": 6,
        "splits": {"train": {"num_examples": 6}, "test": {"num_examples": 4}},
    }
    assert len(set(contents)) == 2


def test_a_copy_is_the_same_data(folder, tmp_path):
    before = described(folder, tmp_path / "cache")
    shutil.copytree(folder, tmp_path / "copy")
    assert described(tmp_path / "copy", tmp_path / "other") == before
    assert described(tmp_path / "copy", tmp_path / "cache") == before


def test_another_pixel_is_other_data(folder, tmp_path):
    before = described(folder, tmp_path / "cache")
    Image.fromarray(np.full((4, 4, 3), 91, np.uint8)).save(folder / "test" / "bee" / "0.bmp")
    (phrase,) = record.differences(before, described(folder, tmp_path / "cache"))
    assert phrase == "the test split has other contents or file names"


@pytest.mark.parametrize(
    ("part", "changed"),
    [("train", "train/ant/2.bmp,bee,train,1"), ("train", "train/ant/2.bmp,ant,train,5")],
)
def test_other_classes_and_weights_of_the_same_files_are_other_data(
    folder, tmp_path, part, changed
):
    """The files are the same and stand in the same order: a digest of them alone is equal."""
    names = [
        f"{part}/{label}/{i}.bmp" for part, label in PARTS for i in range(2 + (part == "train"))
    ]
    rows = [f"{name},{name.split('/')[1]},{name.split('/')[0]},1" for name in names]
    before = listed(folder, rows, tmp_path)
    assert listed(folder, rows, tmp_path / "other") == before
    (row,) = (row for row in rows if row.startswith(changed.partition(",")[0]))
    found = listed(folder, [changed if each == row else each for each in rows], tmp_path)
    (phrase,) = record.differences(before, found)
    assert phrase == f"the {part} split has other classes or weights for its files"
    assert record.differences(before, found, contents=False) == []
    for split in before["splits"].values():  # as an older version wrote it
        del split["listed"]
    assert record.differences(before, found) == []


PARTS = [(part, label) for part in ("train", "test") for label in ("ant", "bee")]


def listed(folder, rows, cache):
    path = folder / "table.csv"
    path.write_text("\n".join(["path,label,split,weight", *rows]))
    data_config = copy.deepcopy(default_config("crnn").data)
    data_config.source = f"csv:{path}"
    source = load_source(data_config, 0)
    return record.describe(source, len(source.train), cache)


def test_files_are_read_once(folder, tmp_path, monkeypatch):
    before = described(folder, tmp_path / "cache")
    monkeypatch.setattr(record, "digest_of", lambda _: pytest.fail("read again"))
    assert described(folder, tmp_path / "cache") == before


def test_data_in_memory_is_described_by_what_makes_it(tmp_path):
    digits = copy.deepcopy(default_config("crnn").data)
    first, second = (
        record.describe(load_source(digits, seed), 9, tmp_path)["splits"]["test"]["content"]
        for seed in (0, 1)
    )
    assert first != second
