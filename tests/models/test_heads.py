"""The fully connected head."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models.heads import Classifier


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_logits_are_float32_and_exact_whatever_the_features_are(dtype):
    weights = {"kernel": jnp.array([[1.0], [1.0 + 2.0**-12]]), "bias": jnp.array([0.5])}
    feature_BTD = jnp.array([[[1.0, 2.0], [0.0, 1.0]]], dtype)
    variables = {"params": {"dense": weights}}
    logits_BTK: Any = Classifier(1, 0.0, 1.0).apply(variables, feature_BTD, train=False)
    assert logits_BTK.dtype == jnp.float32
    expected = [[[3.5 + 2.0**-11], [1.5 + 2.0**-12]]]  # bfloat16 has 8 bits
    np.testing.assert_array_equal(logits_BTK, expected)
    scaled_BTK = Classifier(1, 0.0, 0.25).apply(variables, feature_BTD, train=False)
    np.testing.assert_array_equal(scaled_BTK, logits_BTK / 4)
