"""Each method on scores whose answer is known by hand, and gradients against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models.heads import Output
from crnn_jax.studies import attributions

pytestmark = pytest.mark.long


@pytest.fixture
def linear():
    """Returns (image_BHWC, weight_HWCK, class_B, the score S_c = sum(w_c * image))."""
    random = np.random.default_rng(0)
    image_BHWC = jnp.asarray(random.normal(size=(2, 3, 4, 2)), jnp.float32)
    weight_HWCK = jnp.asarray(random.normal(size=(3, 4, 2, 5)), jnp.float32)
    class_B = jnp.array([4, 1])

    def output_of(image_BHWC):
        return Output(jnp.einsum("bhwc,hwck->bk", image_BHWC, weight_HWCK))

    return image_BHWC, weight_HWCK, class_B, attributions.class_score(output_of, class_B)


def test_of_a_linear_score_each_gradient_is_the_weight(linear):
    image_BHWC, weight_HWCK, class_B, score = linear
    weight_BHWC = jnp.moveaxis(weight_HWCK, -1, 0)[class_B]
    expected_B = jnp.sum(weight_BHWC * image_BHWC, (1, 2, 3))
    np.testing.assert_allclose(score(image_BHWC), expected_B, rtol=1e-5)
    found = attributions.gradient(score, image_BHWC)
    np.testing.assert_allclose(found, weight_BHWC, rtol=1e-6)
    found = attributions.smooth_gradient(
        lambda x: attributions.gradient(score, x), image_BHWC, jax.random.key(0), num_samples=3
    )
    np.testing.assert_allclose(found, weight_BHWC, rtol=1e-5)


def test_of_a_linear_score_integrated_gradients_are_the_products(linear):
    image_BHWC, weight_HWCK, class_B, score = linear
    baseline_BHWC = jnp.full_like(image_BHWC, 0.5)
    weight_BHWC = jnp.moveaxis(weight_HWCK, -1, 0)[class_B]
    found = attributions.integrated_gradients(
        lambda x: attributions.gradient(score, x), image_BHWC, baseline_BHWC, num_steps=3
    )
    np.testing.assert_allclose(found, (image_BHWC - 0.5) * weight_BHWC, rtol=1e-4, atol=1e-6)


def test_smoothing_takes_noise_of_the_size_that_it_says():
    image_BHWC = jnp.zeros((1, 40, 40, 1)).at[0, 0, 0, 0].set(2.0)  # largest minus smallest: 2
    found = attributions.smooth_gradient(
        lambda x: x**2, image_BHWC, jax.random.key(0), num_samples=20
    )
    # The mean of the gradient x^2 is the noise's variance where the image is 0.
    assert np.mean(found[0, 1:]) == pytest.approx((0.15 * 2) ** 2, rel=0.05)


def test_integrated_gradients_of_a_square_by_hand():
    image_BHWC = jnp.arange(4.0).reshape(1, 2, 2, 1)
    found = attributions.integrated_gradients(
        lambda x: 2 * x, image_BHWC, jnp.ones_like(image_BHWC), num_steps=2
    )
    np.testing.assert_allclose(found, image_BHWC**2 - 1, rtol=1e-6)  # the midpoint rule is exact


def test_grad_cam_by_hand():
    map_BHWC = jnp.array([[[[1.0, 2.0], [0.0, 4.0]]]])  # one row, two places, two channels
    weight_HWC = jnp.array([[[1.0, -1.0], [3.0, 0.0]]])
    found = attributions.grad_cam(lambda x: jnp.sum(x * weight_HWC[None], (1, 2, 3)), map_BHWC)
    # Mean gradients 2 and -1/2: 2 * 1 - 2 / 2 = 1, and 0 - 4 / 2 < 0.
    np.testing.assert_allclose(found, [[[1.0, 0.0]]])


def test_relevance_of_a_step_is_the_length_of_its_gradient():
    feature_BTD = jnp.ones((1, 2, 2))
    weight_TD = jnp.array([[3.0, 4.0], [0.0, -2.0]])
    found = attributions.step_relevance(lambda x: jnp.sum(x * weight_TD[None], (1, 2)), feature_BTD)
    np.testing.assert_allclose(found, [[5.0, 2.0]])


def test_a_map_is_the_largest_channel_and_is_enlarged():
    gradient_BHWC = jnp.array([[[[0.5, -2.0, 1.0], [0.0, 0.1, -0.3]]]])
    np.testing.assert_allclose(attributions.largest_channel(gradient_BHWC), [[[2.0, 0.3]]])
    enlarged = attributions.enlarge(jnp.array([[[0.0, 4.0]]]), 1, 4)
    np.testing.assert_allclose(enlarged, [[[0.0, 1.0, 3.0, 4.0]]])


@pytest.mark.parametrize("model", ["cnn", "rnn_deep", "crnn"])
def test_gradients_of_models_equal_finite_differences(tiny, start_run, model):
    experiment, _, _, _, state = start_run(tiny(model, mesh__data=1))
    weights = {"params": state.params, "batch_stats": state.batch_stats}
    random = np.random.default_rng(0)
    image_BHWC = jnp.asarray(random.normal(size=(3, 8, 8, 1)), jnp.float32)
    direction_BHWC = jnp.asarray(random.normal(size=(3, 8, 8, 1)), jnp.float32)
    score = jax.jit(
        attributions.class_score(
            lambda x: experiment.model.apply(weights, x, train=False), jnp.array([1, 5, 9])
        )
    )
    step = 1e-3  # small enough that few of the ReLUs and maxima in between change sides
    difference_B = score(image_BHWC + step * direction_BHWC)
    difference_B = (difference_B - score(image_BHWC - step * direction_BHWC)) / (2 * step)
    gradient_BHWC = jax.jit(lambda x: attributions.gradient(score, x))(image_BHWC)
    slope_B = jnp.sum(gradient_BHWC * direction_BHWC, axis=(1, 2, 3))
    np.testing.assert_allclose(slope_B, difference_B, atol=0.05 * np.abs(difference_B).max())


@pytest.mark.parametrize(("model", "error"), [("rnn", 1e-3), ("crnn", 0.03)])
def test_integrated_gradients_of_models_add_up(tiny, start_run, model, error):
    experiment, _, _, _, state = start_run(tiny(model, mesh__data=1))
    weights = {"params": state.params, "batch_stats": state.batch_stats}
    random = np.random.default_rng(0)
    image_BHWC = jnp.asarray(random.normal(size=(3, 8, 8, 1)), jnp.float32)
    score = attributions.class_score(
        lambda x: experiment.model.apply(weights, x, train=False), jnp.array([1, 5, 9])
    )
    nothing = jnp.zeros_like(image_BHWC)
    gradient_of = jax.jit(lambda x: attributions.gradient(score, x))
    found = attributions.integrated_gradients(gradient_of, image_BHWC, nothing)
    difference_B = score(image_BHWC) - score(nothing)
    np.testing.assert_allclose(
        jnp.sum(found, (1, 2, 3)), difference_B, atol=error * float(jnp.abs(difference_B).max())
    )


def test_rise_of_a_linear_score_is_what_a_shown_pixel_adds(linear):
    image_BHWC, weight_HWCK, class_B, score = linear
    baseline_BHWC = jnp.full_like(image_BHWC, 0.5)
    # With as many cells as pixels each pixel is shown by itself: of w (x - baseline) a shown pixel
    # adds all, and any pixel the share p, so that 1 - p of it is left.
    found = attributions.rise(
        score,
        image_BHWC,
        baseline_BHWC,
        jax.random.key(0),
        num_masks=20_000,
        num_cells=4,
        share=0.3,
    )
    weight_BHWC = jnp.moveaxis(weight_HWCK, -1, 0)[class_B]
    expected_BHW = 0.7 * jnp.sum((image_BHWC - 0.5) * weight_BHWC, -1)
    np.testing.assert_allclose(found, expected_BHW, atol=0.12)
    assert float(jnp.max(jnp.abs(expected_BHW))) > 1


def test_the_masks_of_rise_show_their_share_of_every_pixel_softly():
    keys = jax.random.split(jax.random.key(0), 2000)
    mask_NHW = jax.vmap(lambda key: attributions._soft_mask(key, 10, 16, 4, 0.25))(keys)
    assert mask_NHW.shape == (2000, 10, 16)
    assert float(jnp.min(mask_NHW)) >= 0
    assert float(jnp.max(mask_NHW)) <= 1
    np.testing.assert_allclose(jnp.mean(mask_NHW, 0), 0.25, atol=0.05)
    steps = jnp.abs(jnp.diff(mask_NHW, axis=2))
    assert float(jnp.max(steps)) < 0.3  # cells of 4 pixels: a quarter a pixel
