"""Max-pooling equals flax's; with the convolution before it, it is the same as a product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from crnn_jax.models.convolution import conv2d
from crnn_jax.models.pooling import conv_max_pool, max_pool, product_kernel_grad, product_max


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 2)])
def test_max_pool_equals_the_windowed_maximum(size):
    image_BHWC = images(2, *size, 3)

    @jax.jit
    def run(image_BHWC):
        def windowed(image_BHWC):
            return nn.max_pool(image_BHWC, (2, 2), (2, 2), padding="SAME")

        pair = (max_pool, windowed)
        gradients = [jax.grad(lambda x, f=f: (f(x) ** 2).sum())(image_BHWC) for f in pair]
        return [f(image_BHWC) for f in pair], gradients

    values, gradients = run(image_BHWC)
    np.testing.assert_array_equal(*values)
    np.testing.assert_allclose(*gradients, rtol=1e-6)


def test_the_first_of_equal_values_has_the_gradient():
    image_BHWC = jnp.asarray([[1.0, 2.0], [2.0, 2.0]]).reshape(1, 2, 2, 1)
    grad = jax.grad(lambda image: max_pool(image).sum())(image_BHWC)
    np.testing.assert_array_equal(grad.ravel(), [0, 1, 0, 0])


def test_max_pool_shows_what_is_not_a_number():
    for place in range(4):
        image_BHWC = jnp.zeros(4).at[place].set(jnp.nan).reshape(1, 2, 2, 1)
        assert jnp.isnan(max_pool(image_BHWC)).all()


def test_max_pool_keeps_a_map_of_one():
    np.testing.assert_array_equal(max_pool(images(2, 1, 1, 3)), images(2, 1, 1, 3))


def separate(image_BHWC, kernel_HWIO, **options):
    return max_pool(conv2d(image_BHWC, kernel_HWIO, **options))


def assert_equal(got, want, tolerance):
    got, want = np.asarray(got, "float32"), np.asarray(want, "float32")
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


@pytest.mark.parametrize(
    ("height", "width", "channels", "window", "options"),
    [
        (8, 12, 3, (3, 3), {}),
        (2, 2, 1, (3, 3), {}),
        (7, 8, 3, (3, 3), {}),
        (8, 8, 5, (3, 3), {}),
        (8, 8, 3, (5, 5), {}),
        (9, 8, 3, (3, 3), {"strides": (2, 1), "padding": "VALID"}),
    ],
)
def test_conv_max_pool_equals_both_in_turn(height, width, channels, window, options):
    arguments = images(2, height, width, channels), images(*window, channels, 6)

    def run(function):
        value, pull_back = jax.vjp(lambda *of: function(*of, **options), *arguments)
        return value, *pull_back(jnp.cos(value))

    for got, want in zip(run(conv_max_pool), run(separate), strict=True):
        assert_equal(got, want, 1e-6)


@pytest.mark.parametrize("shape", [(8, 12, 3), (2, 2, 1), (4, 6, 4)])
def test_the_product_equals_the_convolution(shape):
    """What a GPU computes, on a CPU."""
    image_BHWC, kernel_HWIO = images(3, *shape), images(3, 3, shape[2], 6)
    pooled, place = product_max(image_BHWC, kernel_HWIO)
    expected, pull_back = jax.vjp(lambda kernel: separate(image_BHWC, kernel), kernel_HWIO)
    assert_equal(pooled, expected, 1e-6)
    grad = jnp.cos(expected)
    assert_equal(product_kernel_grad(image_BHWC, place, grad), pull_back(grad)[0], 1e-6)


def test_the_product_gives_the_first_of_equal_values_the_gradient():
    image_BHWC, kernel_HWIO = jnp.ones((1, 2, 2, 1)), jnp.zeros((3, 3, 1, 1))
    _, place = product_max(image_BHWC, kernel_HWIO)
    np.testing.assert_array_equal(place, jnp.zeros((1, 1, 1, 1), jnp.uint8))
    grad = product_kernel_grad(image_BHWC, place, jnp.ones((1, 1, 1, 1)))
    # The pixel at the top left sees itself, and those to the right and below.
    np.testing.assert_array_equal(grad[..., 0, 0], [[0, 0, 0], [0, 1, 1], [0, 1, 1]])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_conv_max_pool_equals_both_in_turn_on_a_gpu(dtype):
    if jax.default_backend() != "gpu":
        pytest.skip("needs a GPU: TEST_PLATFORM=cuda")
    # Whole numbers, so that sums are exact and both find the same maxima.
    image_BHWC = jnp.round(2 * images(64, 32, 32, 3)).clip(-2, 2).astype(dtype)
    kernel_HWIO = jnp.round(2 * images(3, 3, 3, 128)).clip(-2, 2).astype(dtype)

    @jax.jit
    def run(image_BHWC, kernel_HWIO):
        values = []
        for function in (conv_max_pool, separate):
            value, pull_back = jax.vjp(function, image_BHWC, kernel_HWIO)
            values.append((value, *pull_back(jnp.ones_like(value))))
        return values

    with jax.default_matmul_precision("highest"):  # not TF32
        for got, want in zip(*run(image_BHWC, kernel_HWIO), strict=True):
            assert_equal(got, want, 1e-4 if dtype == "float32" else 2e-2)
