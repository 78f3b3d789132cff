"""What is said of classes that are not as common as others."""

import numpy as np
import pytest

from crnn_jax.data import balance
from crnn_jax.data.splits import Split

NAMES = ("cat", "dog", "owl")


def split(counts):
    group_N = None if counts is None else np.repeat(np.arange(len(counts)), counts)
    return Split("train", 5, {}, lambda index: {}, group_N)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([10, 10, 9], None),
        ([10, 100, 10], None),
        ([10, 101, 10], "class 'dog' has 101 training examples, 'cat' 10: data.sampling=balanced"),
        ([5, 4, 0], "'owl' 0"),
        ([0, 7, 0], "every training example is of class 'dog'"),
        (None, None),
    ],
)
def test_a_line_says_what_is_rare(counts, expected):
    found = balance.warning(split(counts), NAMES, is_balanced=False)
    assert found is None if expected is None else expected in (found or "")


def test_a_training_that_makes_up_for_it_is_told_nothing():
    assert balance.warning(split([1, 50, 1]), NAMES, is_balanced=True) is None
    assert balance.warning(split([0, 7, 0]), NAMES, is_balanced=True) is not None
