"""Data whose classes are other ones, or in another order, with the numbers of a training."""

import dataclasses
import pickle

import numpy as np
import pytest

from crnn_jax.data.cache import decoded
from crnn_jax.data.classes import with_classes
from crnn_jax.data.fields import IGNORE
from crnn_jax.data.splits import (
    Encoded,
    Source,
    Split,
    labelled,
    labelled_fields,
    masked_fields,
)
from crnn_jax.errors import CorruptImageError, UserError

NAMES = ("ant", "bee", "cow")


@dataclasses.dataclass(frozen=True, eq=False)
class Reader:
    """Example i is of class i % 3; 5 is corrupt."""

    def __call__(self, index):
        if index == 5:
            raise CorruptImageError("image 5")
        return labelled(index % 3, image=np.full((1, 1, 1), index, np.uint8))

    def encoded(self, index_B):
        return [
            CorruptImageError("image 5") if i == 5 else Encoded(b"", labelled(i % 3), f"image {i}")
            for i in index_B
        ]


def make_source(known=True, with_files=False):
    label_N = np.arange(9, dtype=np.int32) % 3
    train, test = (
        Split(
            name,
            9,
            labelled_fields((1, 1, 1)),
            Reader(),
            label_N if known else None,
            encoded=Reader().encoded if with_files else None,
        )
        for name in ("train", "test")
    )
    return Source("toy", NAMES, train, test, "f1")


def contents(split):
    found = split.read_many(range(len(split)))
    return [
        None if isinstance(e, CorruptImageError) else (int(e["image"][0, 0, 0]), int(e["label"]))
        for e in found
    ]


def test_the_same_classes_are_the_same_source():
    source = make_source()
    assert with_classes(source, NAMES) is source


def test_another_order():
    test = with_classes(make_source(), ("cow", "ant", "bee")).test
    assert contents(test) == [
        (0, 1), (1, 2), (2, 0), (3, 1), (4, 2), None, (6, 1), (7, 2), (8, 0),
    ]  # fmt: skip
    assert test.group_N is not None
    assert test.group_N.tolist() == [1, 2, 0] * 3
    copied = pickle.loads(pickle.dumps(test))
    assert copied.read(2)["label"] == 0
    assert copied.read(2)["label"].dtype == np.int32


@pytest.mark.parametrize(("known", "with_files"), [(True, False), (False, False), (False, True)])
def test_new_classes_are_left_out_and_missing_ones_keep_their_numbers(known, with_files):
    source = with_classes(make_source(known, with_files), ("ape", "bee", "cow"))
    assert source.class_names == ("ape", "bee", "cow")
    found = [(1, 1), (2, 2), (4, 1), (7, 1), (8, 2)]
    # Where labels have to be read, that of a corrupt image is not known, and it keeps its place.
    found.insert(3, None)  # type: ignore[arg-type]
    assert contents(source.test) == contents(source.train) == found
    if with_files:
        assert source.test.encoded is not None
        (first, *_) = source.test.encoded([0])
        assert isinstance(first, Encoded)
        assert first.values["label"] == 1


def test_decoded_images_are_kept_apart(tmp_path):
    source = make_source()
    arguments = {"cache_dir": tmp_path, "fingerprint": "f1", "skip_corrupt": True}
    labels = [
        decoded(s.test, **arguments).fields["label"].tolist()
        for s in (source, with_classes(source, ("cow", "ant", "bee")), source)
    ]
    assert labels[0] == labels[2] == [0, 1, 2, 0, 1, 0, 0, 1, 2]
    assert labels[1] == [1, 2, 0, 1, 2, 0, 1, 2, 0]


def test_pixels_of_new_classes_are_ignored():
    mask_HW = np.array([[0, 1], [2, IGNORE]], np.uint8)

    def read(_):
        return {"image": np.zeros((2, 2, 3), np.uint8), "mask": mask_HW}

    split = Split("test", 1, masked_fields((2, 2, 3)), read)
    source = with_classes(Source("toy", NAMES, split, split, "f1"), ("cow", "dog", "ant"))
    expected = [[2, IGNORE], [0, IGNORE]]
    np.testing.assert_array_equal(source.test.read(0)["mask"], expected)
    assert source.test.read(0)["mask"].dtype == np.uint8
    np.testing.assert_array_equal(mask_HW, [[0, 1], [2, IGNORE]])


def test_no_class_of_the_training():
    with pytest.raises(UserError, match=r"such as 'ape', found 'ant' and others.*--data_source"):
        with_classes(make_source(), ("ape", "asp"))
