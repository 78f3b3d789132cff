"""Reading an image by rows and patches."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.models import build_model
from crnn_jax.models.heads import Output
from crnn_jax.models.rnn import read_patches, read_rows


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_rows_from_the_top():
    image_BHWC = jnp.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2)
    row_BTD = read_rows(image_BHWC)
    assert row_BTD.shape == (2, 3, 8)
    np.testing.assert_array_equal(row_BTD[1, 2], image_BHWC[1, 2].ravel())


def test_patches_in_raster_order():
    image_BHWC = jnp.arange(16).reshape(1, 4, 4, 1)
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    np.testing.assert_array_equal(read_patches(image_BHWC, 2)[0], expected)


def test_patches_pad_with_zeros_below_and_right_and_lose_nothing():
    image_BHWC = jnp.arange(1, 16).reshape(1, 3, 5, 1)
    patch_BTD = read_patches(image_BHWC, 2)
    assert patch_BTD.shape == (1, 6, 4)
    np.testing.assert_array_equal(patch_BTD[0, 5], [15, 0, 0, 0])
    assert patch_BTD.sum() == image_BHWC.sum()


@pytest.mark.parametrize("tokens", ["rows", "patches"])
def test_the_answer_depends_on_every_pixel_and_on_the_order(tokens, draw):
    config = default_config("rnn").model
    config.update(cell="elman", hidden_units=8, implementation="hoisted", tokens=tokens)
    model = build_model(config, 10, jnp.float32)
    image_BHWC = images(2, 8, 8, 1)
    variables = draw(model, image_BHWC, train=False)

    @jax.jit
    @jax.value_and_grad
    def square(image_BHWC):
        return (cast(Output, model.apply(variables, image_BHWC, train=False)).logits_BK ** 2).sum()

    value, gradient_BHWC = square(image_BHWC)
    assert np.abs(gradient_BHWC).min() > 0
    assert abs(value - square(image_BHWC[:, ::-1])[0]) > 1e-3
