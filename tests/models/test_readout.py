"""Readouts against numbers computed by hand, and what holds of any of them."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from crnn_jax.models.readout import READOUTS, Attention
from crnn_jax.models.recurrent import Recurrent

LENGTHS = np.array([5, 3, 1])
MASK_BT = jnp.arange(5)[None, :] < LENGTHS[:, None]


def states(batch=3, steps=5, size=4):
    noise_BTN = np.random.default_rng(0).normal(size=(batch, steps, size))
    return jnp.asarray(noise_BTN, jnp.float32)


def attend(variables, state_BTN, mask_BT=None, dtype=jnp.float32):
    """The readout's vector, and its weights over the steps."""
    applied: Any = Attention(dtype).apply(
        variables, state_BTN, state_BTN[:, -1], mask_BT, mutable="intermediates"
    )
    pooled_BN, sown = applied
    (attention_BT,) = sown["intermediates"]["attention_BT"]
    return pooled_BN, attention_BT


def by_hand(params, state_TN):
    energy_T = [
        np.sum(np.tanh(state_N @ params["kernel"] + params["bias"]) * params["score"])
        for state_N in np.asarray(state_TN, np.float64)
    ]
    weight_T = np.exp(energy_T) / np.exp(energy_T).sum()
    return weight_T @ np.asarray(state_TN, np.float64), weight_T


def test_attention_by_hand():
    """Two steps of one unit: energies 2 tanh(1 * 1 + 0) and 2 tanh(1 * 0 + 0)."""
    params = {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1), "score": 2 * jnp.ones(1)}
    pooled_BN, attention_BT = attend({"params": params}, jnp.array([[[1.0], [0.0]]]))
    expected = 1 / (1 + np.exp(-2 * np.tanh(1.0)))
    np.testing.assert_allclose(attention_BT, [[expected, 1 - expected]], rtol=1e-6)
    np.testing.assert_allclose(pooled_BN, [[expected]], rtol=1e-6)


@pytest.mark.parametrize("name", READOUTS)
def test_masked_steps_are_as_if_they_were_not_there(name, draw):
    readout, state_BTN = READOUTS[name](jnp.float32), states()
    last_BN = jnp.stack([state_BTN[row, length - 1] for row, length in enumerate(LENGTHS)])
    variables = draw(readout, state_BTN, last_BN)
    spoilt_BTN = jnp.where(MASK_BT[..., None], state_BTN, 99.0)
    found_BN: Any = readout.apply(variables, spoilt_BTN, last_BN, MASK_BT)
    for row, length in enumerate(LENGTHS):
        alone = state_BTN[row : row + 1, :length]
        expected_BN: Any = readout.apply(variables, alone, alone[:, -1])
        np.testing.assert_allclose(found_BN[row : row + 1], expected_BN, rtol=1e-5, atol=1e-6)
    moved = jax.grad(
        lambda x: (cast(jax.Array, readout.apply(variables, x, last_BN, MASK_BT)) ** 2).sum()
    )
    assert not np.abs(moved(spoilt_BTN)[~MASK_BT]).any()


@pytest.mark.parametrize("name", ["mean", "attention"])
def test_where_no_step_counts_the_answer_is_zero(name, draw):
    readout, state_BTN = READOUTS[name](jnp.float32), states()
    variables = draw(readout, state_BTN, state_BTN[:, -1])
    nothing_BT = jnp.zeros((3, 5), bool)
    value = readout.apply(variables, state_BTN, state_BTN[:, -1], nothing_BT)
    np.testing.assert_array_equal(value, jnp.zeros((3, 4)))


def test_attention_weights_are_a_distribution_over_the_steps_that_count(draw):
    state_BTN = states()
    variables = draw(Attention(jnp.float32), state_BTN, state_BTN[:, -1])
    for mask_BT in (None, MASK_BT):
        pooled_BN, attention_BT = attend(variables, state_BTN, mask_BT)
        assert attention_BT.dtype == jnp.float32
        np.testing.assert_allclose(attention_BT.sum(1), 1, rtol=1e-6)
        lengths = LENGTHS if mask_BT is not None else [5] * 3
        for row, length in enumerate(lengths):
            expected_N, weight_T = by_hand(variables["params"], state_BTN[row, :length])
            np.testing.assert_allclose(attention_BT[row, :length], weight_T, rtol=1e-5)
            np.testing.assert_array_equal(attention_BT[row, length:], 0)
            np.testing.assert_allclose(pooled_BN[row], expected_N, rtol=1e-4, atol=1e-6)


def test_attention_starts_as_the_mean_and_its_weights_follow_the_steps(draw):
    state_BTN = states()
    start = Attention(jnp.float32).init(jax.random.key(0), state_BTN, state_BTN[:, -1])
    pooled_BN, _ = attend({"params": start["params"]}, state_BTN)
    np.testing.assert_allclose(pooled_BN, state_BTN.mean(1), rtol=1e-5, atol=1e-6)
    assert np.abs(start["params"]["kernel"]).max() > 0  # or nothing would ever move
    variables = draw(Attention(jnp.float32), state_BTN, state_BTN[:, -1])
    order = jnp.array([3, 0, 4, 1, 2])
    pooled_BN, attention_BT = attend(variables, state_BTN)
    moved_BN, moved_BT = attend(variables, state_BTN[:, order])
    np.testing.assert_allclose(moved_BN, pooled_BN, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved_BT, attention_BT[:, order], rtol=1e-5)


def test_gradients_of_attention(draw):
    state_BTN = states()
    variables = draw(Attention(jnp.float32), state_BTN, state_BTN[:, -1])

    def loss(params, state_BTN):
        return (attend({"params": params}, state_BTN, MASK_BT)[0] ** 2).sum()

    check_grads(loss, (variables["params"], state_BTN), order=1, modes="rev", rtol=1e-2)


def test_attention_of_large_energies_is_finite_and_bfloat16_is_near(draw):
    state_BTN = states()
    params = draw(Attention(jnp.float32), state_BTN, state_BTN[:, -1])["params"]
    exact_BN, _ = attend({"params": params}, state_BTN)
    rough_BN, attention_BT = attend({"params": params}, state_BTN, dtype=jnp.bfloat16)
    assert rough_BN.dtype == attention_BT.dtype == jnp.float32
    assert 0 < np.abs(rough_BN - exact_BN).max() < 2e-2
    large = attend({"params": params | {"score": 1e6 * params["score"]}}, state_BTN, MASK_BT)
    assert np.isfinite(large[0]).all()


@pytest.mark.parametrize("name", READOUTS)
def test_readouts_are_one_for_all_implementations(name, draw):
    feature_BTD = states(steps=9)
    make = lambda how: Recurrent("gru", 6, 1, True, how, False, jnp.float32)  # noqa: E731
    variables = draw(make("scan"), feature_BTD)
    readout = READOUTS[name](jnp.float32)
    of_readout = draw(readout, jnp.zeros((3, 9, 12)), jnp.zeros((3, 12)))
    mask_BT = jnp.arange(9)[None, :] < jnp.array([9, 4, 1])[:, None]

    @jax.jit
    def run(feature_BTD):
        layers = [make(how) for how in ("scan", "hoisted", "fused")]
        ends = [layer.apply(variables, feature_BTD, mask_BT) for layer in layers]
        return [readout.apply(of_readout, *end, mask_BT) for end in ends]

    first_BN, *others = run(feature_BTD)
    for other_BN in others:
        np.testing.assert_allclose(other_BN, first_BN, rtol=1e-4, atol=1e-5)
