"""Tiles of the GRU's kernels: all of their programs run at once, and their weights fit."""

import itertools

import jax.numpy as jnp
import pytest

from crnn_jax.kernels.tile import Tile, choose_tile, pad_units

H100 = {"cores": 132, "memory": 232_448}


def test_units_are_padded_to_what_a_product_takes():
    assert [pad_units(n) for n in (1, 16, 17, 100, 128, 129, 300, 512)] == [
        16, 16, 32, 128, 128, 192, 320, 512,
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_all_programs_of_a_tile_run_at_once(dtype):
    for batch, units in itertools.product((1, 37, 128, 1024, 5000), (16, 128, 192, 512, 1024)):
        tile = choose_tile(batch, units, dtype, **H100)
        if tile is not None:
            assert units % tile.units == units % tile.depth == 0
            programs = -(-batch // tile.batch) * (units // tile.units)
            assert programs <= 132
            weights = 3 * units * tile.units * jnp.dtype(dtype).itemsize
            assert weights < 232_448


def test_tiles_of_an_h100():
    def choose(batch, units):
        return choose_tile(batch, units, jnp.bfloat16, **H100)

    assert choose(128, 128) == Tile(16, 128, 128, 8)  # all units: no program waits
    tile = choose(128, 128)
    assert tile is not None
    assert tile.alone(128)
    assert choose(128, 512) == Tile(16, 32, 512, 4)
    assert choose(1024, 512) == Tile(64, 64, 64, 4)
    assert choose(1024, 1024) is None
