"""The whitening layer and the identity-like initialisation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models.whitening import Whitening, dirac


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 8), (8, 3), (4, 4)])
def test_dirac_passes_the_first_channels_on(inputs, outputs):
    kernel_HWIO = jax.jit(dirac, static_argnums=1)(jax.random.key(0), (3, 3, inputs, outputs))
    image_BHWC = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 4, inputs)), jnp.float32)
    map_BHWC = jax.lax.conv_general_dilated(
        image_BHWC, kernel_HWIO, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    same = min(inputs, outputs)
    np.testing.assert_allclose(map_BHWC[..., :same], image_BHWC[..., :same], rtol=1e-6)
    others = np.asarray(kernel_HWIO)[..., same:]
    assert others.size == 0 or 0.5 < others.std() / np.sqrt(2 / (9 * inputs)) < 1.5


def test_whitening_by_hand():
    """Two outputs of a 2 x 2 patch of one channel: its sum, and less its top left pixel."""
    kernel_HWIO = jnp.zeros((2, 2, 1, 8)).at[..., 0].set(1.0).at[0, 0, 0, 1].set(-1.0)
    variables = {
        "params": {"bias": jnp.full(8, 10.0)},
        "batch_stats": {"kernel": kernel_HWIO},
    }
    image_BHWC = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    map_BHWC: Any = Whitening(2, jnp.float32).apply(variables, image_BHWC)
    # SAME pads at the bottom and on the right.
    np.testing.assert_allclose(map_BHWC[0, :, :, 0], [[20, 16], [17, 14]])
    np.testing.assert_allclose(map_BHWC[0, :, :, 1], [[9, 8], [7, 6]])
