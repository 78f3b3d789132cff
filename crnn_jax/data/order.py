"""Which example is at which position of the endless training order: pure arithmetic, no state.

The order is the concatenation of one permutation per epoch, and the permutation is computed for
each element by itself, without a sort or a table; so any process, worker or restarted run knows
what lies at any position.
"""

from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MAX_POSITIONS = 2**32  # positions are uint32
_ROUNDS = 32  # two neighbours stay neighbours through all rounds with probability 2**-32
_GOLDEN = np.uint32(0x9E3779B9)
_BALANCED = np.uint32(0x5851F42D)  # keeps the keys of one order apart from the other's


def positions(step: Any, batch_size: int, xp: ModuleType = jnp) -> Any:
    """Returns the positions of batch `step`: step * B + (0..B-1), uint32 of shape (B,)."""
    start = xp.asarray(step).astype(np.uint32) * np.uint32(batch_size)
    return start + xp.arange(batch_size, dtype=np.uint32)


def example_at(
    position_B: Any, num_examples: int, seed: Any, xp: ModuleType = jnp
) -> tuple[Any, Any]:
    """Returns (epoch_B, example_B), what lies at each position of the training order.

    Within an epoch every example comes exactly once. The permutation is the swap-or-not shuffle
    (Hoang, Morris and Rogaway, "An Enciphering Scheme Based on a Card Shuffle", CRYPTO 2012) keyed
    by (seed, epoch): in each of 32 rounds x changes places with (K - x) mod N or stays, by one
    hashed bit of the pair. It works on any N directly, so that no loop depends on the data, which
    would make a GPU wait for its host. The hash is no cipher: good for shuffling, not for secrets.

    Args:
      position_B: integers in 0..2**32-1 of any shape; may be traced.
      num_examples: N, static, in 1..2**32-1.
      seed: integer, of which the lowest 32 bits count; may be traced.
      xp: `jax.numpy` or `numpy`; both give the same values.

    Returns:
      int32 arrays of the shape of `position_B`; example_B is in 0..N-1 (as uint32 where N > 2**31).

    Raises:
      ValueError: N is out of range.
    """
    if not 1 <= num_examples < MAX_POSITIONS:
        raise ValueError(f"num_examples must be in 1..2**32-1, found {num_examples}")
    if isinstance(seed, int):
        seed = np.uint32(seed & 0xFFFFFFFF)
    if num_examples == 1:  # XLA for the CPU fails to compile a remainder by 1
        position_B = xp.asarray(position_B)
        return position_B.astype(np.int32), xp.zeros(position_B.shape, np.int32)
    count = np.uint32(num_examples)
    # numpy warns where a scalar wraps around, which is what is wanted here.
    with np.errstate(over="ignore"):
        position_B = xp.asarray(position_B).astype(np.uint32)
        epoch_B = position_B // count
        key_B = _mix(_mix(xp.asarray(seed).astype(np.uint32)) + epoch_B)
        example_B = _swap_or_not(position_B % count, key_B, count, xp)
    example_dtype = np.int32 if num_examples <= 2**31 else np.uint32
    return epoch_B.astype(np.int32), example_B.astype(example_dtype)


class Groups(NamedTuple):
    """The examples of a split by group (class), for `balanced_at`; G groups that are not empty.

    Attributes:
      example_N: int32, which examples there are, group after group.
      first_G: uint32, where each group begins in example_N.
      count_G: uint32, how many each has.
    """

    example_N: Any
    first_G: Any
    count_G: Any


def by_group(group_N: np.ndarray) -> Groups:
    """Returns the groups of a split.

    Args:
      group_N: int, of each example; one of a negative group is in none.

    Raises:
      ValueError: no example is in a group.
    """
    group_N = np.asarray(group_N)
    by_group_N = np.argsort(group_N, kind="stable")
    example_N = by_group_N[group_N[by_group_N] >= 0].astype(np.int32)
    if len(example_N) == 0:
        raise ValueError("expected an example of a group, found none")
    _, first_G, count_G = np.unique(group_N[example_N], return_index=True, return_counts=True)
    return Groups(example_N, first_G.astype(np.uint32), count_G.astype(np.uint32))


def balanced_at(
    position_B: Any, groups: Groups, seed: Any, xp: ModuleType = jnp
) -> tuple[Any, Any]:
    """Returns (pass_B, example_B): an order in which each group comes as often as any other.

    Positions fall into rounds of G, in each of which every group comes once, in an order of its
    own. The r-th round takes the r-th example of a group's own endless order, which goes through
    the group again and again, each time in another permutation; pass_B counts these times. So
    (pass, example) never comes twice, and augmentations differ as they do between epochs.

    Args:
      position_B: integers in 0..2**32-1 of any shape; may be traced.
      groups: what `by_group` returns; its arrays may be traced.
      seed: integer, of which the lowest 32 bits count; may be traced.
      xp: `jax.numpy` or `numpy`; both give the same values.
    """
    if isinstance(seed, int):
        seed = np.uint32(seed & 0xFFFFFFFF)
    num_groups = np.uint32(groups.count_G.shape[0])
    with np.errstate(over="ignore"):
        position_B = xp.asarray(position_B).astype(np.uint32)
        key = _mix(xp.asarray(seed).astype(np.uint32) ^ _BALANCED)
        if num_groups == 1:  # XLA for the CPU fails to compile a remainder by 1
            round_B, group_B = position_B, xp.zeros_like(position_B)
        else:
            round_B = position_B // num_groups
            round_key_B = _mix(key + round_B)
            group_B = _swap_or_not(position_B % num_groups, round_key_B, num_groups, xp)
        count_B = xp.asarray(groups.count_G)[group_B]
        pass_B = round_B // count_B
        key_B = _mix(_mix(key + (group_B + np.uint32(1)) * _GOLDEN) + pass_B)
        place_B = _swap_or_not(round_B % count_B, key_B, count_B, xp)
        example_B = xp.asarray(groups.example_N)[xp.asarray(groups.first_G)[group_B] + place_B]
    return pass_B.astype(np.int32), example_B


def _swap_or_not(x: Any, key: Any, count: Any, xp: ModuleType) -> Any:
    def swap(index: Any, x: Any) -> Any:
        round_key = _mix(key + xp.asarray(index + 1).astype(np.uint32) * _GOLDEN)
        pivot = round_key % count
        partner = xp.where(x <= pivot, pivot - x, pivot - x + count)
        # The larger of the two names the pair: both decide by the same bit, so it is a bijection.
        bit = _mix(xp.maximum(x, partner) ^ (round_key * np.uint32(0x85EBCA6B))) >> np.uint32(31)
        return xp.where(bit == 1, partner, x)

    if xp is jnp:  # a loop compiles four times faster than 32 rounds in a row, and runs as fast
        return jax.lax.fori_loop(0, _ROUNDS, swap, x, unroll=4)
    for index in range(_ROUNDS):
        x = swap(index, x)
    return x


def _mix(x: Any) -> Any:
    """Hashes uint32 to uint32, one to one (lowbias32, Wellons 2018)."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))
