"""Sweeps over the grid of patches in four directions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.errors import UserError
from crnn_jax.flops import forward_flops_per_image
from crnn_jax.models import build_model
from crnn_jax.models.rnn_deep import cut_patches


def make(patch_sizes=(2, 2)):
    config = default_config("rnn_deep").model
    config.update(hidden_units=5, patch_sizes=patch_sizes, implementation="hoisted")
    return build_model(config, 10, jnp.float32)


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def variables_of(model):
    return jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 12, 3)), train=False)
    )


def test_patches_lie_where_they_lay():
    image_BHWC = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patch_BHWD = cut_patches(image_BHWC, 2)
    assert patch_BHWD.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(patch_BHWD[1, 1, 2], image_BHWC[1, 2:4, 4:6].ravel())


def test_parameters_and_operations_by_hand():
    """8x12x3 in patches of 2: grids of 4x6 and 2x3; a GRU of 5 units has 15 gates."""
    model, variables = make(), variables_of(make())
    inputs = (12, 10, 40, 10)  # columns and rows of each layer
    found = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert found == sum(2 * (d * 15 + 5 * 15 + 15 + 5) for d in inputs) + 10 * 10 + 10
    positions = (24, 24, 6, 6)
    products = sum(2 * p * (d * 15 + 5 * 15) for p, d in zip(positions, inputs, strict=True))
    assert forward_flops_per_image(model, variables, (8, 12, 3)) == 2 * (products + 10 * 10)


@pytest.fixture(scope="module")
def grid_gradient(draw):
    """d (top-left position of the first layer's states)^2 / d image, and the states' shape."""
    model = make((2,))
    image_BHWC = images(1, 8, 12, 3)
    variables = draw(model, image_BHWC, train=False)

    @jax.jit
    def run(image_BHWC):
        def square(image_BHWC):
            applied: Any = model.apply(
                variables, image_BHWC, train=False, capture_intermediates=True
            )
            _, state = applied
            rows_NTD, _ = state["intermediates"]["rows_0"]["__call__"][0]
            return (rows_NTD[0, 0] ** 2).sum(), rows_NTD

        return jax.grad(square, has_aux=True)(image_BHWC)

    return run(image_BHWC)


def test_a_layer_sees_the_whole_grid_from_every_position(grid_gradient):
    gradient_BHWC, rows_NTD = grid_gradient
    assert rows_NTD.shape == (4, 6, 10)  # four rows of six positions, two directions
    assert np.abs(gradient_BHWC).min() > 0


def test_columns_are_read_before_rows(draw):
    """A line's state depends on no other line: without rows, columns do not mix."""
    model = make((2,))
    image_BHWC = images(1, 8, 12, 3)
    variables = draw(model, image_BHWC, train=False)

    @jax.jit
    def columns(image_BHWC):
        _, state = model.apply(variables, image_BHWC, train=False, capture_intermediates=True)
        return state["intermediates"]["columns_0"]["__call__"][0][0]

    before_NTD = columns(image_BHWC)
    after_NTD = columns(image_BHWC.at[:, 3, 4:6].add(1.0))  # in the third column of patches
    assert before_NTD.shape == (6, 4, 10)
    moved = np.abs(after_NTD - before_NTD).max(axis=(1, 2)) > 0
    np.testing.assert_array_equal(moved, [False, False, True, False, False, False])


def test_clips_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"'model.name' is 'rnn_deep'.* clips of 3 frames"):
        jax.eval_shape(
            lambda: make().init(jax.random.key(0), jnp.zeros((1, 3, 8, 8, 1)), train=False)
        )
