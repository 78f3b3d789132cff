"""Reading the last map, and the CRNN's own contracts."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.models import build_model
from crnn_jax.models.crnn import read_map
from crnn_jax.models.heads import Output


def make(sequence="rows", bidirectional=False):
    config = default_config("crnn").model
    config.update(width=4, stage_multipliers=(1, 2), num_conv_layers=3, hidden_units=5)
    config.update(bidirectional=bidirectional, sequence=sequence)
    return build_model(config, 10, jnp.float32)


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_reading_orders():
    map_BHWC = jnp.arange(12).reshape(1, 2, 3, 2)
    np.testing.assert_array_equal(
        read_map(map_BHWC, "rows")[0], [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    )
    np.testing.assert_array_equal(
        read_map(map_BHWC, "columns")[0], [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    )
    np.testing.assert_array_equal(
        read_map(map_BHWC, "raster")[0], [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    )


@pytest.mark.parametrize("bidirectional", [False, True])
def test_number_of_parameters_by_hand(bidirectional):
    """8x8x1: 3x3 convolutions 1-4, 4-4, 4-8; the map is 2x2x8, so T = 2 and D = 16."""
    model = make(bidirectional=bidirectional)
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), train=False)
    )
    convolutions = 9 * 1 * 4 + 9 * 4 * 4 + 9 * 4 * 8
    norms = 2 * (4 + 4 + 8)
    directions = 1 + bidirectional
    recurrent = directions * (16 * 15 + 5 * 15 + 15 + 5)
    head = directions * 5 * 10 + 10
    found = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert found == convolutions + norms + recurrent + head


def test_columns_equal_rows_of_the_transposed_image(draw):
    image_BHWC = images(3, 8, 12, 1)
    variables = draw(make(), image_BHWC, train=False)
    turned = jax.tree.map(lambda v: v.swapaxes(0, 1) if v.ndim == 4 else v, variables)

    @jax.jit
    def run(image_BHWC):
        return (
            cast(Output, make("rows").apply(variables, image_BHWC, train=False)).logits_BK,
            cast(
                Output, make("columns").apply(turned, image_BHWC.swapaxes(1, 2), train=False)
            ).logits_BK,
        )

    np.testing.assert_allclose(*run(image_BHWC), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sequence", ["rows", "columns", "raster"])
def test_the_last_state_knows_the_first_token_and_the_order(sequence, draw):
    image_BHWC, model = images(2, 16, 16, 3), make(sequence)
    variables = draw(model, image_BHWC, train=False)

    @jax.jit
    @jax.value_and_grad
    def square(image_BHWC):
        return (cast(Output, model.apply(variables, image_BHWC, train=False)).logits_BK ** 2).sum()

    value, gradient_BHWC = square(image_BHWC)
    assert np.abs(gradient_BHWC[:, :2, :2]).max() > 0
    assert abs(value - square(image_BHWC[:, ::-1, ::-1])[0]) > 1e-4
