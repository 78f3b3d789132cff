"""The trunk, by itself and in a CNN."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.models import build_model
from crnn_jax.models.trunk import Trunk, layers_per_stage


def make(dtype=jnp.float32, **changes):
    config = default_config("cnn").model
    config.update(width=4, stage_multipliers=(1, 2), num_conv_layers=3, **changes)
    return build_model(config, 10, dtype)


def make_trunk(width, stage_multipliers, num_conv_layers, norm, **changes):
    shape = dict(width=width, stage_multipliers=stage_multipliers, num_conv_layers=num_conv_layers)
    defaults = default_config("cnn").model
    trunk = {k: v for k, v in defaults.items() if k in Trunk.__dataclass_fields__ and k != "name"}
    return Trunk(**(trunk | shape | {"norm": norm} | changes), dtype=jnp.float32)


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("layers", "stages", "expected"),
    [(6, 3, [2, 2, 2]), (7, 3, [3, 2, 2]), (8, 3, [3, 3, 2]), (3, 3, [1, 1, 1]), (5, 1, [5])],
)
def test_layers_are_spread_evenly(layers, stages, expected):
    assert layers_per_stage(layers, stages) == expected


@pytest.mark.parametrize("size", [(8, 8), (9, 5), (3, 3), (1, 1)])
def test_each_stage_halves_the_map_rounded_up(size):
    trunk = make_trunk(4, (1, 2, 2.5), 4, True)
    features, _ = jax.eval_shape(
        lambda x: trunk.init_with_output(jax.random.key(0), x, train=False), images(2, *size, 1)
    )
    expected = {
        stride: (2, *(-(-side // stride) for side in size), channels)
        for stride, channels in ((2, 4), (4, 8), (8, 10))
    }
    assert {stride: map_BHWC.shape for stride, map_BHWC in features.maps.items()} == expected
    assert features.map_BHWC is features.maps[8]
    assert features.pooled_BD.shape == (2, 10)


def test_one_layer_by_hand():
    """A kernel that doubles the centre pixel: the map is relu(2 * the block's maximum + bias)."""
    trunk = make_trunk(1, (1,), 1, False)
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 1] = 2.0
    conv = {"kernel": jnp.array(kernel), "bias": jnp.array([-3.0])}
    image_BHWC = jnp.arange(4.0).reshape(1, 2, 2, 1) * jnp.array([1.0, -1.0])[:, None, None, None]
    features: Any = trunk.apply({"params": {"conv_0_0": conv}}, image_BHWC, train=False)
    np.testing.assert_allclose(features.map_BHWC.ravel(), [2 * 3 - 3, 0])
    wide: Any = trunk.apply(
        {"params": {"conv_0_0": conv}}, 1 + jnp.arange(16.0).reshape(1, 4, 4, 1), train=False
    )
    np.testing.assert_allclose(wide.map_BHWC.ravel(), [9, 13, 25, 29])
    np.testing.assert_allclose(wide.pooled_BD, [[19]])


def test_norm_replaces_the_biases_and_uses_batch_statistics_in_training_alone(draw):
    image_BHWC, model = images(8, 8, 8, 3), make()
    variables = draw(model, image_BHWC, train=False)
    assert set(variables["params"]["trunk"]["conv_0_0"]) == {"kernel"}
    assert set(draw(make(norm=False), image_BHWC, train=False)) == {"params"}

    @jax.jit
    def run(image_BHWC):
        trained, updates = model.apply(variables, image_BHWC, train=True, mutable=["batch_stats"])
        evaluated: Any = model.apply(variables, image_BHWC, train=False)
        alone: Any = model.apply(variables, image_BHWC[:1], train=False)
        return trained.logits_BK, updates["batch_stats"], evaluated.logits_BK, alone.logits_BK

    trained_BK, updates, evaluated_BK, alone_BK = run(image_BHWC)
    assert np.abs(trained_BK - evaluated_BK).max() > 1e-3
    np.testing.assert_allclose(alone_BK, evaluated_BK[:1], rtol=1e-5, atol=1e-5)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), variables["batch_stats"], updates)
    assert min(jax.tree.leaves(moved)) > 0


def test_dropout_acts_in_training_alone(draw):
    image_BHWC, model = images(4, 8, 8, 1), make(norm=False, dropout=0.5)
    variables = draw(model, image_BHWC, train=False)

    @jax.jit
    def run(image_BHWC):
        keys = jax.random.split(jax.random.key(0))
        first, second = (
            model.apply(variables, image_BHWC, train=True, rngs={"dropout": key}) for key in keys
        )
        plain = make(norm=False).apply(variables, image_BHWC, train=True)
        return first, second, plain, model.apply(variables, image_BHWC, train=False)

    first, second, plain, evaluated = (output.logits_BK for output in run(image_BHWC))
    assert np.abs(first - second).max() > 0
    np.testing.assert_allclose(evaluated, plain, rtol=1e-6, atol=1e-6)


def test_bfloat16_keeps_float32_parameters_statistics_and_logits(draw):
    image_BHWC = images(8, 8, 8, 3)
    variables = draw(make(dtype=jnp.bfloat16), image_BHWC, train=False)

    @jax.jit
    def run(image_BHWC):
        return [
            make(dtype=dtype).apply(variables, image_BHWC, train=True, mutable=["batch_stats"])
            for dtype in (jnp.float32, jnp.bfloat16)
        ]

    (exact, _), rough = run(image_BHWC)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, rough))} == {jnp.dtype(jnp.float32)}
    worst = np.abs(rough[0].logits_BK - exact.logits_BK).max()
    assert 0 < worst < 5e-2 * np.abs(exact.logits_BK).max()


def test_he_initialisation_keeps_the_scale_through_relu():
    trunk = make_trunk(64, (1,), 2, False)

    @jax.jit
    def initialise(key):
        # Only this kernel is returned, so that nothing else is compiled.
        variables = trunk.init(key, jnp.zeros((1, 4, 4, 3)), train=False)
        return variables["params"]["conv_0_1"]["kernel"]

    kernel = initialise(jax.random.key(0))
    assert abs(np.std(kernel) / np.sqrt(2 / (9 * 64)) - 1) < 0.02


def test_gelu_by_hand():
    trunk = make_trunk(1, (1,), 1, False, activation="gelu")
    conv = {"kernel": jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0), "bias": jnp.zeros(1)}
    image_BHWC = jnp.array([1.0, -1.0]).reshape(2, 1, 1, 1)
    features: Any = trunk.apply({"params": {"conv_0_0": conv}}, image_BHWC, train=False)
    np.testing.assert_allclose(features.map_BHWC.ravel(), [0.8412, -0.1588], atol=1e-4)


def test_norm_without_a_scale_and_with_a_shorter_memory():
    """One layer, a batch of 1 and 3: the mean is 2, and the running mean keeps 0.6 of its 0."""
    trunk = make_trunk(1, (1,), 1, True, norm_scale=False, norm_momentum=0.6)
    image_BHWC = jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)
    shapes = jax.eval_shape(lambda: trunk.init(jax.random.key(0), image_BHWC, train=False))
    assert set(shapes["params"]["norm_0_0"]) == {"bias"}
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    kernel = variables["params"]["conv_0_0"]["kernel"]
    variables["params"]["conv_0_0"]["kernel"] = kernel.at[1, 1].set(1.0)
    applied: Any = trunk.apply(variables, image_BHWC, train=True, mutable=["batch_stats"])
    _, updates = applied
    np.testing.assert_allclose(updates["batch_stats"]["norm_0_0"]["mean"], 0.4 * 2, rtol=1e-6)
