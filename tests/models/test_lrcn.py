"""Bands of the image, and the mean of the steps' probabilities."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.models import build_model
from crnn_jax.models.heads import Output
from crnn_jax.models.lrcn import cut_bands, mean_probability


def make(**changes):
    config = default_config("lrcn").model
    config.update(width=4, stage_multipliers=(1, 2), num_conv_layers=2, hidden_units=6)
    config.update(implementation="hoisted", **changes)
    return build_model(config, 10, jnp.float32)


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("num_frames", "frame_height", "expected"),
    [
        (3, 0.5, [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]),
        (2, 0.25, [[0, 1], [6, 7]]),
        (2, 1.0, [list(range(8))] * 2),
        (1, 0.5, [[0, 1, 2, 3]]),
        (2, 0.01, [[0], [7]]),
    ],
)
def test_bands_reach_from_the_top_edge_to_the_bottom_one(num_frames, frame_height, expected):
    image_BHWC = jnp.broadcast_to(jnp.arange(8.0)[None, :, None, None], (2, 8, 3, 1))
    video_BFHWC = cut_bands(image_BHWC, num_frames, frame_height)
    assert video_BFHWC.shape == (2, num_frames, len(expected[0]), 3, 1)
    np.testing.assert_array_equal(video_BFHWC[1, :, :, 2, 0], expected)


def test_mean_probability_by_hand():
    step_logits_BTK = jnp.log(jnp.array([[[0.9, 0.1], [0.5, 0.5]]])) + 7.0  # shifts cancel out
    found = np.exp(mean_probability(step_logits_BTK))
    np.testing.assert_allclose(found, [[0.7, 0.3]], rtol=1e-5)


def test_mean_probability_of_extreme_scores_is_finite():
    step_logits_BTK = jnp.array([[[1e4, 0.0], [0.0, 1e4]]])
    np.testing.assert_allclose(np.exp(mean_probability(step_logits_BTK)), [[0.5, 0.5]], rtol=1e-3)


def test_logits_are_the_log_of_the_mean_step_probability(draw):
    image_BHWC, model = images(3, 8, 8, 1), make()
    variables = draw(model, image_BHWC, train=False)
    run = jax.jit(lambda x: model.apply(variables, x, train=False))
    output = run(image_BHWC)
    assert output.step_logits_BTK.shape == (3, 4, 10)
    exp = np.exp(np.asarray(output.step_logits_BTK, np.float64))
    expected = (exp / exp.sum(-1, keepdims=True)).mean(1)
    np.testing.assert_allclose(np.exp(output.logits_BK), expected, rtol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_no_step_knows_a_later_band_unless_bidirectional(bidirectional, draw):
    model = make(num_frames=2, bidirectional=bidirectional)  # two bands that do not overlap
    image_BHWC = images(1, 8, 8, 1)
    variables = draw(model, image_BHWC, train=False)

    @jax.jit
    @jax.jacobian
    def derivative(image_BHWC):
        return cast(Output, model.apply(variables, image_BHWC, train=False)).step_logits_BTK

    influence = np.abs(derivative(image_BHWC)).sum((0, 2, 3, 5, 6))  # step, row
    assert (influence[0, 4:].max() > 0) == bidirectional
    assert influence[0, :4].max() > 0
    assert influence[1, :4].max() > 0
