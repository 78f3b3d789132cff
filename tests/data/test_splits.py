import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from crnn_jax.data import splits
from crnn_jax.data.splits import Split, choose, hold_out, labelled, labelled_fields, subset
from crnn_jax.errors import CorruptImageError, UserError


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Example i is an image of i; 3 is corrupt."""

    def __call__(self, index):
        if index == 3:
            raise CorruptImageError(f"number {index}")
        return labelled(index % 5, image=np.full((1, 1, 1), index, np.uint8))


LABELS_N = np.arange(40, dtype=np.int32) % 5
FIELDS = labelled_fields((1, 1, 1))
SPLIT = Split("train", 40, FIELDS, Numbers(), LABELS_N)


def values(split):
    return [int(split.read(i)["image"][0, 0, 0]) for i in range(len(split))]


def test_subset_reads_the_chosen_examples_in_order():
    part = subset(SPLIT, np.array([7, 0, 12]))
    assert len(part) == part.num_examples == 3
    assert values(part) == [7, 0, 12]
    assert part.group_N is not None
    assert part.group_N.tolist() == [2, 0, 2]
    index_N: Any = [2, 1]
    assert values(subset(part, index_N)) == [12, 0]


def test_subsets_have_names_of_their_own():
    subsets: list[Any] = [[0, 1], [0, 2], [1, 0]]
    names = {subset(SPLIT, index_N).name for index_N in subsets}
    assert len(names) == 3
    assert subset(SPLIT, subsets[0]).name in names


def test_read_many_keeps_the_place_of_a_corrupt_image():
    for split in (SPLIT, subset(SPLIT, np.arange(40))):
        found: Any = split.read_many([2, 3, 4])
        first, error, last = found
        assert (first["image"][0, 0, 0], first["label"], last["label"]) == (2, 2, 4)
        assert isinstance(error, CorruptImageError)
        assert "number 3" in str(error)


def test_splits_can_be_pickled():
    index_N: Any = [7, 1]
    part = pickle.loads(pickle.dumps(subset(SPLIT, index_N)))
    assert values(part) == [7, 1]
    assert part.read_many([0])[0]["label"] == 2


def test_hold_out_divides_without_overlap():
    train, validation = hold_out(SPLIT, 0.25, seed=0)
    held = values_of(validation)
    assert len(held) == 10
    assert held == sorted(held)
    assert sorted(held + values_of(train)) == list(range(40))
    assert validation is not None
    assert train.name.startswith("train-")
    assert validation.name.startswith("validation-")


def values_of(split):
    return split.read.index_N.tolist()


def test_hold_out_is_stratified_where_labels_are_known():
    validation = hold_out(SPLIT, 0.25, seed=0)[1]
    assert validation is not None
    assert validation.group_N is not None
    assert np.bincount(validation.group_N).tolist() == [2] * 5
    unlabelled = Split("train", 40, FIELDS, Numbers())
    counts = {
        tuple(np.bincount(LABELS_N[values_of(hold_out(unlabelled, 0.25, s)[1])])) for s in range(9)
    }
    assert len(counts) > 1


def test_hold_out_depends_on_the_seed_alone():
    parts = [values_of(hold_out(SPLIT, 0.25, seed)[1]) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]
    # Written down, so that a split stays what it is through changes of code and libraries.
    assert parts[0] == [4, 7, 10, 11, 12, 18, 19, 26, 35, 38]


def test_hold_out_nothing_or_everything():
    assert hold_out(SPLIT, 0.0, 0) == (SPLIT, None)
    for fraction in (0.001, 0.999):
        with pytest.raises(UserError, match=r"'data.validation'.*of 40"):
            hold_out(SPLIT, fraction, 0)


def test_choose_gives_each_class_its_share():
    labels_N = np.repeat([0, 1, 2], [50, 31, 19])
    chosen_N = choose(100, 10, 0, 1, labels_N)
    # Shares 5, 3.1 and 1.9: largest remainder.
    assert np.bincount(labels_N[chosen_N]).tolist() == [5, 3, 2]
    assert choose(100, 10, 0, 1, None).sum() == 10
    assert (choose(100, 50, 0, 1, None) != choose(100, 50, 0, 2, None)).any()


def test_choose_is_uniform():
    count_N: Any = sum(choose(20, 5, seed, 1, None).astype(int) for seed in range(400))
    assert count_N.sum() == 2000
    assert 65 < count_N.min() <= count_N.max() < 135  # 100 expected, deviation 8.7


def test_check_label():
    assert splits.check_label(9, 10, "record 5") == 9
    for label in (-1, 10):
        with pytest.raises(UserError, match=f"record 5: .*0 to 9, found {label}"):
            splits.check_label(label, 10, "record 5")


def test_fingerprint_depends_on_every_part():
    prints = {splits.fingerprint(*parts) for parts in (["a", 1], ["a", 2], ["b", 1], ["a", [1]])}
    assert len(prints) == 4
    assert all(len(digits) == 16 and int(digits, 16) for digits in prints)
