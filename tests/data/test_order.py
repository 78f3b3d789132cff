import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.data import order


def epoch(num_examples, seed=0, epoch=0):
    position_N = np.arange(num_examples, dtype=np.uint32) + np.uint32(epoch * num_examples)
    return order.example_at(position_N, num_examples, seed, np)[1]


@pytest.mark.smoke
@pytest.mark.parametrize("num_examples", [1, 2, 3, 10, 1437, 50_000])
def test_each_epoch_has_each_example_once(num_examples):
    for index in (0, 1, 7):
        np.testing.assert_array_equal(
            np.sort(epoch(num_examples, epoch=index)), np.arange(num_examples)
        )


def test_epochs_and_seeds_differ():
    orders = [epoch(1437, seed, index) for seed in (0, 1, 2**31) for index in range(4)]
    for first, second in itertools.combinations(orders, 2):
        # Two random permutations agree in one place on average.
        assert np.sum(first == second) < 10


@pytest.mark.smoke
@pytest.mark.parametrize("num_examples", [1, 2, 3, 1437, 2**31 + 5, 2**32 - 1])
def test_jax_equals_numpy(num_examples):
    position_B = np.array([0, 1, 2, 1436, 1437, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    expected = order.example_at(position_B, num_examples, 5, np)
    traced = jax.jit(lambda p, seed: order.example_at(p, num_examples, seed))
    for seed in (jnp.int32(5), jnp.uint32(5)):
        for ours, theirs in zip(traced(position_B, seed), expected, strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


def test_numpy_scalars_do_not_warn_and_agree_with_arrays():
    index, example = order.example_at(2**32 - 1, 1437, 3, np)
    both = order.example_at(np.array([2**32 - 1], np.uint32), 1437, 3, np)
    assert (index, example) == (both[0][0], both[1][0])
    assert index == (2**32 - 1) // 1437


def test_the_order_never_changes():
    # A recorded run resumes, and is repeated, by these numbers: never change them.
    assert epoch(10).tolist() == GOLDEN_10
    assert epoch(50_000, seed=1, epoch=3)[:5].tolist() == GOLDEN_50000


GOLDEN_10 = [5, 6, 7, 3, 9, 4, 8, 2, 1, 0]
GOLDEN_50000 = [30045, 28519, 15606, 2540, 43253]


@pytest.mark.parametrize("num_examples", [2, 3, 4])
def test_all_permutations_of_a_few_are_equally_likely(num_examples):
    position_N = np.arange(num_examples * 4800, dtype=np.uint32)
    _, example_N = order.example_at(position_N, num_examples, 0, np)
    counts = collections.Counter(map(tuple, example_N.reshape(-1, num_examples).tolist()))
    kinds = list(itertools.permutations(range(num_examples)))
    expected = 4800 / len(kinds)
    chi_square = sum((counts[kind] - expected) ** 2 / expected for kind in kinds)
    freedom = len(kinds) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_every_example_is_equally_likely_at_every_place():
    num_examples, epochs = 60, 6000
    position_N = np.arange(num_examples * epochs, dtype=np.uint32)
    example_EN = order.example_at(position_N, num_examples, 9, np)[1].reshape(epochs, num_examples)
    count_NN = np.stack([np.bincount(column, minlength=num_examples) for column in example_EN.T])
    chi_square = np.sum((count_NN - epochs / num_examples) ** 2) / (epochs / num_examples)
    freedom = (num_examples - 1) ** 2
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


def test_neighbours_and_consecutive_epochs_are_unrelated():
    num_examples = 50_000
    first, second = epoch(num_examples), epoch(num_examples, epoch=1)
    for left, right in (
        (first[:-1], first[1:]),
        (first, second),
        (first, np.arange(num_examples)),
        (first, epoch(num_examples, seed=1)),
    ):
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / np.sqrt(num_examples)
    # Steps between neighbours are spread like those of random pairs: no value is frequent.
    step_N = (first[1:] - first[:-1]) % num_examples
    assert np.bincount(step_N).max() < 12


def test_balanced_rounds_have_each_group_once_and_passes_each_example():
    group_N = np.array([2, 0, 2, 2, 5, 2, 2, -1, 0, 2])  # group 5 has one example, 7 is in none
    groups = order.by_group(group_N)
    num_rounds = 24
    position_B = np.arange(3 * num_rounds, dtype=np.uint32)
    pass_B, example_B = order.balanced_at(position_B, groups, 3, np)
    rounds = group_N[example_B].reshape(num_rounds, 3)
    assert (np.sort(rounds, axis=1) == [0, 2, 5]).all()
    assert len({tuple(row) for row in rounds.tolist()}) == 6  # in every order
    for group, members in ((0, [1, 8]), (2, [0, 2, 3, 5, 6, 9]), (5, [4])):
        own = example_B[group_N[example_B] == group].reshape(-1, len(members))
        assert (np.sort(own, axis=1) == members).all()
        assert len(members) == 1 or len({tuple(row) for row in own.tolist()}) > 1
        passes = pass_B[group_N[example_B] == group]
        assert (passes == np.arange(num_rounds) // len(members)).all()
    others = order.balanced_at(position_B, groups, 4, np)[1]
    assert (others != example_B).any()
    with pytest.raises(ValueError, match="found none"):
        order.by_group(np.array([-1, -1]))


@pytest.mark.parametrize("groups", [[0, 1, 1, 2, 2, 2, 2], [4, 4, 4], [0, 1]])
def test_balanced_jax_equals_numpy(groups):
    found = order.by_group(np.array(groups))
    position_B = np.array([0, 1, 2, 3, 70, 2**31, 2**32 - 1], np.uint32)
    expected = order.balanced_at(position_B, found, 5, np)
    traced = jax.jit(order.balanced_at)(position_B, found, jnp.uint32(5))
    for ours, theirs in zip(traced, expected, strict=True):
        assert ours.dtype == theirs.dtype == np.int32
        np.testing.assert_array_equal(ours, theirs)


def test_the_balanced_order_never_changes():
    groups = order.by_group(np.array([0, 1, 1, 0, 2, 0, 0]))
    example_B = order.balanced_at(np.arange(12, dtype=np.uint32), groups, 1, np)[1]
    assert example_B.tolist() == GOLDEN_BALANCED


GOLDEN_BALANCED = [2, 6, 4, 0, 1, 4, 5, 1, 4, 2, 4, 3]


def test_positions_of_a_step():
    np.testing.assert_array_equal(order.positions(jnp.int32(3), 4), [12, 13, 14, 15])
    last = order.positions(2**30 - 1, 4, np)
    assert last.dtype == np.uint32
    assert last[-1] == 2**32 - 1


@pytest.mark.parametrize("num_examples", [0, 2**32])
def test_a_number_of_examples_out_of_range(num_examples):
    with pytest.raises(ValueError, match="num_examples"):
        order.example_at(np.zeros(1, np.uint32), num_examples, 0, np)
