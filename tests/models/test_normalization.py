"""BatchNorm equals flax's in its variables, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from crnn_jax.models.normalization import BatchNorm, batch_norm

MOMENTUM = 0.8
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}


def image(shape=(6, 5, 4, 7), dtype="float32", seed=0):
    """Channels with means up to three and deviations from 0.5 to 2."""
    draw = np.random.default_rng(seed)
    array = draw.normal(size=shape) * np.linspace(0.5, 2, shape[-1])
    return jnp.asarray(array + np.linspace(-3, 3, shape[-1]), dtype)


def flax_norm(use_scale, dtype, train):
    return nn.BatchNorm(
        use_running_average=not train, momentum=MOMENTUM, use_scale=use_scale, dtype=dtype
    )


def some_variables(use_scale, channels=7):
    draw = np.random.default_rng(1)
    params = {"bias": jnp.asarray(draw.normal(size=channels), "float32")}
    if use_scale:
        params["scale"] = jnp.asarray(draw.uniform(0.5, 2, channels), "float32")
    statistics = {
        "mean": jnp.asarray(draw.normal(size=channels), "float32"),
        "var": jnp.asarray(draw.uniform(0.5, 2, channels), "float32"),
    }
    return params, statistics


def value_and_gradients(apply, params, x_BHWC):
    """Returns the output, the new statistics and the gradients of a weighted sum of the output."""

    def loss(params, x_BHWC):
        output, updated = apply(params, x_BHWC)
        weights = image(output.shape, seed=2)
        return jnp.sum(output.astype(jnp.float32) * weights), (output, updated)

    return jax.grad(loss, (0, 1), has_aux=True)(params, x_BHWC)


# shape, dtype, trained scale, own statistics or the running ones
CASES = [
    ((6, 5, 4, 7), "float32", True, True),
    ((6, 5, 4, 7), "bfloat16", True, True),
    ((6, 5, 4, 7), "float32", False, True),
    ((6, 5, 4, 7), "float32", True, False),
    ((6, 5, 4, 7), "bfloat16", False, False),
    ((9, 1, 1, 7), "float32", False, True),
    ((1, 3, 3, 7), "bfloat16", True, True),
    ((4, 7), "float32", True, True),
]


@pytest.mark.smoke
@pytest.mark.parametrize(("shape", "dtype", "use_scale", "train"), CASES, ids=str)
def test_equals_flax(shape, dtype, use_scale, train):
    params, statistics = some_variables(use_scale)
    ours, flax = BatchNorm(MOMENTUM, use_scale), flax_norm(use_scale, dtype, train)

    def apply(module, **options):
        return lambda params, x_BHWC: module.apply(
            {"params": params, "batch_stats": statistics},
            x_BHWC,
            mutable=["batch_stats"],
            **options,
        )

    x_BHWC = image(shape, dtype)
    got = value_and_gradients(apply(ours, train=train), params, x_BHWC)
    want = value_and_gradients(apply(flax), params, x_BHWC)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        one, other = np.asarray(one, "float32"), np.asarray(other, "float32")
        assert np.abs(one - other).max() <= TOLERANCE[dtype] * max(1.0, np.abs(other).max())


@pytest.mark.parametrize("use_scale", [True, False])
def test_starts_as_flax_does(use_scale):
    key = jax.random.key(0)
    got = BatchNorm(MOMENTUM, use_scale).init(key, image(), train=True)
    want = flax_norm(use_scale, None, True).init(key, image())
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_by_hand():
    """The values 1, 3 and 5, 5 have means 2 and 5 and variances 1 and 0."""
    x_BHWC = jnp.asarray([[1.0, 5.0], [3.0, 5.0]])
    output, mean_C, variance_C = batch_norm(x_BHWC, jnp.asarray([2.0, 1.0]), jnp.ones(2), 0.0625)
    factor = 2 / np.sqrt(1.0625)
    np.testing.assert_allclose(output, [[1 - factor, 1], [1 + factor, 1]], rtol=1e-6)
    np.testing.assert_array_equal(mean_C, [2.0, 5.0])
    np.testing.assert_array_equal(variance_C, [1.0, 0.0])


def test_a_channel_without_variance_has_a_finite_gradient():
    x_BHWC = jnp.ones((4, 2, 2, 3))

    def loss(x_BHWC):
        return jnp.sum(batch_norm(x_BHWC, jnp.ones(3), jnp.zeros(3), 1e-5)[0] ** 2 + 0.0)

    assert np.isfinite(jax.grad(loss)(x_BHWC)).all()


def test_works_under_jit_vmap_and_checkpoint():
    x_BHWC, scale_C, bias_C = image((3, 4, 2, 2, 5)), jnp.full(5, 2.0), jnp.ones(5)

    def gradient(x_BHWC):
        def loss(x_BHWC):
            return jnp.sum(batch_norm(x_BHWC, scale_C, bias_C, 1e-5)[0] ** 3)

        return jax.grad(jax.checkpoint(loss))(x_BHWC)

    want = [gradient(each) for each in x_BHWC]
    np.testing.assert_allclose(jax.jit(jax.vmap(gradient))(x_BHWC), want, rtol=1e-4, atol=1e-4)
