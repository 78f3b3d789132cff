"""Sequencer2D; tests/test_convert.py compares its values with timm's."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.config.model_keys import SEQUENCER_DEPTHS
from crnn_jax.errors import UserError
from crnn_jax.flops import forward_flops_per_image
from crnn_jax.models import build_model
from crnn_jax.models.sequencer import BiLSTM2D, Block
from crnn_jax.validation import validate


def make(**changes):
    config = default_config("sequencer").model
    small = {"depths": (1, 2), "channels": (8, 12), "patch_sizes": (3, 2), "mlp_ratio": 2.5}
    config.update(small | {"implementation": "hoisted"} | changes)
    return build_model(config, 10, jnp.float32)


def grids(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def block_parameters(channels, width):
    lstm = 4 * (channels * channels + channels * channels // 4 + channels)  # four directions
    mlp = 2 * channels * width + width + channels
    return lstm + channels * channels + channels + mlp + 2 * 2 * channels


def block_products(channels, width):
    """At each position."""
    return 4 * (channels * channels + channels * channels // 4) + channels**2 + 2 * channels * width


def test_parameters_and_operations_by_hand():
    """12x18x3 in patches of 3: grids of 4x6 and 2x3; a direction has C / 4 units, C gates."""
    model = make()
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 12, 18, 3)), train=False)
    )
    found = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    embeddings = 3 * 3 * 3 * 8 + 8 + 2 * 2 * 8 * 12 + 12
    blocks = block_parameters(8, 20) + 2 * block_parameters(12, 30)
    assert found == embeddings + blocks + 2 * 12 + 12 * 10 + 10
    products = 24 * (27 * 8 + block_products(8, 20))
    products += 6 * (32 * 12 + 2 * block_products(12, 30)) + 12 * 10
    assert forward_flops_per_image(model, variables, (12, 18, 3)) == 2 * products


def test_the_published_sizes():
    """Tatsunami and Taki 2022: millions of parameters, and 1e9 multiply-adds at 224 pixels."""
    published = {"s": (28, 8.4), "m": (38, 11.1), "l": (54, 16.6)}
    for size, (millions, products) in published.items():
        first, *others = SEQUENCER_DEPTHS[size]
        parameters = 7 * 7 * 3 * 192 + 2 * 2 * 192 * 384 + 2 * 384**2 + 384 * 1000
        parameters += first * block_parameters(192, 576)
        parameters += sum(others) * block_parameters(384, 1152)
        assert round(parameters / 1e6) == millions
        found = 32**2 * (7 * 7 * 3 * 192 + first * block_products(192, 576))
        found += 16**2 * (2 * 2 * 192 * 384 + 2 * 384**2 + sum(others) * block_products(384, 1152))
        assert found / 1e9 == pytest.approx(products, rel=0.02)


def test_a_position_sees_its_own_row_and_column_and_no_more(draw):
    model, grid_BHWC = BiLSTM2D("lstm", "hoisted", jnp.float32), grids(1, 2, 3, 8)
    variables = draw(model, grid_BHWC)

    @jax.jit
    @jax.grad
    def gradient(grid_BHWC):
        output: Any = model.apply(variables, grid_BHWC)
        return (output[0, 1, 2] ** 2).sum()

    seen_HW = np.abs(gradient(grid_BHWC)[0]).max(axis=-1) > 0
    np.testing.assert_array_equal(seen_HW, [[False, False, True], [True, True, True]])


def test_columns_and_rows_have_weights_of_their_own(draw):
    """Turned images do not give turned outputs, unless the weights of both are exchanged."""
    model, grid_BHWC = BiLSTM2D("lstm", "hoisted", jnp.float32), grids(2, 2, 3, 8)
    variables = draw(model, grid_BHWC)
    params, fuse = variables["params"], variables["params"]["fuse"]
    halves = jnp.split(fuse["kernel"], 2)
    exchanged = {
        "columns": params["rows"],
        "rows": params["columns"],
        "fuse": {**fuse, "kernel": jnp.concatenate(halves[::-1])},
    }
    run = jax.jit(model.apply)
    output: Any = run(variables, grid_BHWC)
    turned: Any = run({"params": exchanged}, grid_BHWC.swapaxes(1, 2))
    np.testing.assert_allclose(turned.swapaxes(1, 2), output, atol=1e-5)
    other: Any = run(variables, grid_BHWC.swapaxes(1, 2))
    assert np.abs(other.swapaxes(1, 2) - output).max() > 0.1


def test_stochastic_depth_drops_each_half_of_a_block_for_a_whole_image(draw):
    model, grid_BHWC = Block(2.0, 0.5, "lstm", "hoisted", jnp.float32), grids(64, 1, 2, 8)
    variables = draw(model, grid_BHWC, train=False)
    params = variables["params"]
    first = {**params, "mlp_out": jax.tree.map(jnp.zeros_like, params["mlp_out"])}

    @jax.jit
    def added(params, key):
        output: Any = model.apply({"params": params}, grid_BHWC, train=True, rngs={"dropout": key})
        return output - grid_BHWC

    @jax.jit
    def all_added(params):
        output: Any = model.apply({"params": params}, grid_BHWC, train=False)
        return output - grid_BHWC

    sweeps_BHWC = all_added(first)
    dropped_BHWC = added(first, jax.random.key(0))
    products_B = np.asarray((dropped_BHWC * sweeps_BHWC).sum((1, 2, 3)))
    factor_B = products_B / np.asarray((sweeps_BHWC**2).sum((1, 2, 3)))
    assert set(np.round(factor_B, 4).tolist()) == {0.0, 2.0}  # what is kept is divided by 1 - 0.5
    expected_BHWC = factor_B[:, None, None, None] * sweeps_BHWC
    np.testing.assert_allclose(dropped_BHWC, expected_BHWC, atol=1e-5)
    skipped_B = np.abs(added(params, jax.random.key(0))).max(axis=(1, 2, 3)) == 0
    assert 0.1 < skipped_B.mean() < 0.4  # a quarter skips both; half, if one draw were for both


def test_stages_have_a_number_each():
    config = default_config("sequencer")
    config.model.depths = (2, 2)
    with pytest.raises(
        UserError, match=r"'model.channels' expects one number a stage \(2.*found 4"
    ):
        validate(config)
    config.model.channels = (8, 8)
    with pytest.raises(UserError, match=r"'model.patch_sizes' expects one .*found 4"):
        validate(config)
    config.model.patch_sizes = (2, 2)
    validate(config)


def test_clips_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"'model.name' is 'sequencer'.* clips of 3 frames"):
        jax.eval_shape(
            lambda: make().init(jax.random.key(0), jnp.zeros((1, 3, 8, 8, 1)), train=False)
        )
