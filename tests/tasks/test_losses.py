"""Cross-entropy against hand-computed values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.tasks import losses


def test_cross_entropy_by_hand():
    logits_BK = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    loss_B = losses.cross_entropy(logits_BK, jnp.array([0, 2]))
    np.testing.assert_allclose(loss_B, [np.log(2), -np.log(0.8)], rtol=1e-6)


def test_label_smoothing_by_hand():
    logits_BK = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    # Target: 0.7 + 0.1, 0.1, 0.1 of the three classes.
    expected = 0.8 * np.log(2) + 0.2 * np.log(4)
    loss_B = losses.cross_entropy(logits_BK, jnp.array([0]), label_smoothing=0.3)
    np.testing.assert_allclose(loss_B, [expected], rtol=1e-6)


def test_gradient_is_probability_minus_target():
    logits_BK = jnp.array([[1.0, -2.0, 0.5]])
    grad_BK = jax.grad(lambda x: losses.cross_entropy(x, jnp.array([1]))[0])(logits_BK)
    np.testing.assert_allclose(
        grad_BK, jax.nn.softmax(logits_BK) - np.array([[0, 1, 0]]), atol=1e-6
    )


def test_bfloat16_logits_are_summed_in_float32():
    logits_BK = jnp.zeros((1, 1000), jnp.bfloat16)
    loss_B = losses.cross_entropy(logits_BK, jnp.array([3]))
    assert loss_B.dtype == jnp.float32
    np.testing.assert_allclose(loss_B, [np.log(1000)], rtol=1e-6)


@pytest.mark.parametrize("weights", [[1, 0, 1], [0.5, 0, 0.5]])
def test_weighted_mean_equals_mean_of_subset(weights):
    value_B = jnp.array([1.0, 100.0, 3.0])
    assert losses.weighted_mean(value_B, jnp.array(weights, jnp.float32)) == 2.0


def test_weighted_mean_of_nothing_is_zero():
    assert losses.weighted_mean(jnp.ones(3), jnp.zeros(3)) == 0.0
