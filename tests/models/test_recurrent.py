"""Recurrent layers against flax's cells, hand-computed numbers and each other."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from crnn_jax.models.cells import CELLS
from crnn_jax.models.recurrent import Recurrent, unroll_steps

BOTH = ("scan", "hoisted")
FLAX_CELLS = {"elman": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}
# Flax's names of the gates in the order in which ours lie side by side.
FLAX_GATES = {"elman": [""], "gru": ["r", "z", "n"], "lstm": ["i", "f", "g", "o"]}


def make(cell="gru", units=6, layers=1, bidirectional=False, how="hoisted", dtype=jnp.float32,
         remat=False):  # fmt: skip
    return Recurrent(cell, units, layers, bidirectional, how, remat, dtype)


def features(batch=3, steps=5, size=4):
    noise_BTD = np.random.default_rng(0).normal(size=(batch, steps, size))
    return jnp.asarray(noise_BTD, jnp.float32)


def to_flax(cell, layer):
    """Our parameters of one layer as those of flax's cell.

    Flax has a Dense a gate: `i<gate>` on the input and `h<gate>` on the state, where ours lie side
    by side in kernel_x and kernel_h. The bias belongs to its input side, but to its state side in
    the LSTM; the GRU's `hn` has a second one, our bias_h.
    """
    gates = FLAX_GATES[cell]
    split = {name: np.split(np.asarray(layer[name]), len(gates), axis=-1) for name in
             ("kernel_x", "kernel_h", "bias")}  # fmt: skip
    params = {}
    for index, gate in enumerate(gates):
        params[f"i{gate}"] = {"kernel": split["kernel_x"][index]}
        params[f"h{gate}"] = {"kernel": split["kernel_h"][index]}
        params[f"{'h' if cell == 'lstm' else 'i'}{gate}"]["bias"] = split["bias"][index]
    if cell == "gru":
        params["hn"]["bias"] = layer["bias_h"]
    return {"params": {"cell": params}}


@pytest.mark.smoke
@pytest.mark.parametrize("cell", FLAX_CELLS)
def test_equals_flax_with_the_same_weights(cell, draw):
    feature_BTD = features(steps=9)  # 9 steps are a loop, 5 and 1 are unrolled
    variables = draw(make(cell), feature_BTD)
    weights = to_flax(cell, variables["params"]["layer_0"])
    flax_model = nn.RNN(FLAX_CELLS[cell](6, name="cell"))

    @jax.jit
    def run(feature_BTD):
        parts = [feature_BTD[:, :steps] for steps in (1, 5, 9)]
        ours = [make(cell, how=how).apply(variables, x) for x in parts for how in BOTH]
        return ours, [flax_model.apply(weights, x) for x in parts for _ in BOTH]

    for (state_BTN, last_BN), expected_BTN in zip(*run(feature_BTD), strict=True):
        np.testing.assert_allclose(state_BTN, expected_BTN, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(last_BN, state_BTN[:, -1])


def test_elman_by_hand():
    """h_1 = tanh(0.5 * 1 + 0.1), h_2 = tanh(0.5 * -2 + 0.8 * h_1 + 0.1)."""
    layer = {"kernel_x": [[0.5]], "kernel_h": [[0.8]], "bias": [0.1]}
    last = run_by_hand("elman", layer)
    expected = math.tanh(-1.0 + 0.8 * math.tanh(0.6) + 0.1)
    np.testing.assert_allclose(last, [[expected]], rtol=1e-6)


def test_gru_by_hand():
    layer = {
        "kernel_x": [[0.5, -0.3, 0.7]],
        "kernel_h": [[0.2, 0.4, -0.6]],
        "bias": [0.1, 0.2, 0.3],
        "bias_h": [0.9],
    }
    last = run_by_hand("gru", layer)
    hidden = 0.0
    for x in (1.0, -2.0):
        reset = sigmoid(0.5 * x + 0.1 + 0.2 * hidden)
        update = sigmoid(-0.3 * x + 0.2 + 0.4 * hidden)
        new = math.tanh(0.7 * x + 0.3 + reset * (-0.6 * hidden + 0.9))
        hidden = (1 - update) * new + update * hidden
    np.testing.assert_allclose(last, [[hidden]], rtol=1e-6)


def test_gru_cho_by_hand():
    """The reset gate multiplies the state, not its product: two units, so that the two differ."""
    kernel_x = np.array([[0.5, 0.1, -0.3, 0.4, 0.7, -0.2]])
    kernel_h = np.random.default_rng(1).normal(size=(2, 6))
    bias = np.array([0.1, -0.2, 0.2, 0.3, 0.3, -0.1])
    layer = {"kernel_x": kernel_x, "kernel_h": kernel_h, "bias": bias}
    last = run_by_hand("gru_cho", layer, units=2)
    hidden = np.zeros(2)
    for x in (1.0, -2.0):
        gate_x = x * kernel_x[0] + bias
        reset, update = np.split(1 / (1 + np.exp(-gate_x[:4] - hidden @ kernel_h[:, :4])), 2)
        new = np.tanh(gate_x[4:] + (reset * hidden) @ kernel_h[:, 4:])
        hidden = (1 - update) * new + update * hidden
    np.testing.assert_allclose(last, [hidden], rtol=1e-5)


def test_lstm_by_hand():
    layer = {
        "kernel_x": [[0.5, -0.3, 0.7, 0.2]],
        "kernel_h": [[0.2, 0.4, -0.6, 0.1]],
        "bias": [0.1, 1.0, 0.3, -0.4],
    }
    last = run_by_hand("lstm", layer)
    hidden = memory = 0.0
    for x in (1.0, -2.0):
        gate_in = sigmoid(0.5 * x + 0.1 + 0.2 * hidden)
        forget = sigmoid(-0.3 * x + 1.0 + 0.4 * hidden)
        new = math.tanh(0.7 * x + 0.3 - 0.6 * hidden)
        out = sigmoid(0.2 * x - 0.4 + 0.1 * hidden)
        memory = forget * memory + gate_in * new
        hidden = out * math.tanh(memory)
    np.testing.assert_allclose(last, [[hidden]], rtol=1e-6)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def run_by_hand(cell, layer, units=1):
    """The last state of a layer that has read 1 and -2."""
    params = {"layer_0": {n: jnp.array(value, jnp.float32) for n, value in layer.items()}}
    feature_BTD = jnp.array([[[1.0], [-2.0]]])
    return jax.jit(make(cell, units).apply)({"params": params}, feature_BTD)[1]


@pytest.mark.parametrize("cell", CELLS)
def test_hoisted_equals_scan_in_values_and_gradients(cell, draw):
    feature_BTD = features(steps=9)
    scan, hoisted = (make(cell, bidirectional=True, how=how) for how in BOTH)
    variables = draw(scan, feature_BTD)
    own = draw(hoisted, feature_BTD)
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, variables)

    @jax.jit
    def run(variables, feature_BTD):
        def loss(variables, feature_BTD, model):
            state_BTN, last_BN = model.apply(variables, feature_BTD)
            return (state_BTN**2).sum() + (last_BN**3).sum()

        return [
            jax.value_and_grad(loss, (0, 1))(variables, feature_BTD, model)
            for model in (scan, hoisted)
        ]

    values = run(variables, feature_BTD)
    for expected, found in zip(*map(jax.tree.leaves, values), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_bidirectional_equals_reversing_by_hand(draw):
    both, one = make(bidirectional=True), make()
    params = draw(both, features())["params"]

    @jax.jit
    def run(feature_BTD):
        reverse = {"params": {"layer_0": params["layer_0_reverse"]}}
        return (
            both.apply({"params": params}, feature_BTD),
            one.apply({"params": {"layer_0": params["layer_0"]}}, feature_BTD),
            one.apply(reverse, feature_BTD[:, ::-1]),
        )

    (state_BTN, last_BN), (ahead, ahead_last), (back, back_last) = run(features())
    expected_BTN = np.concatenate([ahead, back[:, ::-1]], -1)
    np.testing.assert_allclose(state_BTN, expected_BTN, rtol=1e-5, atol=1e-6)
    expected_BN = np.concatenate([ahead_last, back_last], -1)
    np.testing.assert_allclose(last_BN, expected_BN, rtol=1e-5, atol=1e-6)


def test_states_know_the_past_and_not_the_future(draw):
    feature_BTD, model = features(batch=1), make()
    variables = draw(model, feature_BTD)
    jacobian = jax.jit(jax.jacobian(lambda x: model.apply(variables, x)[0]))(feature_BTD)
    influence_TT = np.abs(jacobian).sum((0, 2, 3, 5))  # of token j (column) on state i (row)
    np.testing.assert_array_equal(influence_TT != 0, np.tri(5, dtype=bool))


@pytest.mark.parametrize(
    ("cell", "how"), [("elman", "scan"), ("gru", "scan"), ("gru", "hoisted"), ("lstm", "hoisted")]
)
def test_bfloat16_is_near_and_keeps_a_float32_state(cell, how, draw):
    feature_BTD = features(batch=8, steps=9, size=16)
    exact = make(cell, 16)
    variables = draw(exact, feature_BTD)

    @jax.jit
    def run(variables):
        def loss(variables, model):
            state_BTN, last_BN = model.apply(variables, feature_BTD)
            assert state_BTN.dtype == last_BN.dtype == jnp.float32
            return (last_BN**2).sum()

        rough = make(cell, 16, how=how, dtype=jnp.bfloat16)
        return [jax.value_and_grad(loss)(variables, model) for model in (exact, rough)]

    for expected, found in zip(*map(jax.tree.leaves, run(variables)), strict=True):
        assert found.dtype == jnp.float32
        assert 0 < np.abs(found - expected).max() < 2e-2 * np.abs(expected).max()


@pytest.mark.parametrize("how", BOTH)
def test_every_matmul_forward_and_backward_is_in_bfloat16(how, draw):
    feature_BTD, model = features(), make(how=how, dtype=jnp.bfloat16)
    variables = draw(model, feature_BTD)
    program = jax.make_jaxpr(jax.grad(lambda v, x: model.apply(v, x)[0].sum(), (0, 1)))
    lines = str(program(variables, feature_BTD)).splitlines()
    results = [line.split("=")[0] for line in lines if "= dot_general[" in line]
    assert len(results) >= 6  # x and h: forward, to their inputs and to their kernels
    assert all(":bf16[" in result for result in results), results


def test_initialisation():
    variables = jax.jit(make("lstm", 8).init)(jax.random.key(0), features(size=200))
    layer = variables["params"]["layer_0"]
    blocks = np.split(np.asarray(layer["kernel_h"]), 4, axis=1)
    for block, following in itertools.pairwise([*blocks, blocks[0]]):
        np.testing.assert_allclose(block @ block.T, np.eye(8), atol=1e-5)
        assert np.abs(block - following).max() > 0.1
    assert abs(np.std(layer["kernel_x"]) * math.sqrt(200) - 1) < 0.1
    forget_gate_open = [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    np.testing.assert_array_equal(layer["bias"], forget_gate_open)


def test_stacked_layers_read_the_states_below(draw):
    feature_BTD, model = features(), make(layers=2)
    params = draw(model, feature_BTD)["params"]

    @jax.jit
    def run(feature_BTD):
        below, _ = make().apply({"params": {"layer_0": params["layer_0"]}}, feature_BTD)
        expected, _ = make().apply({"params": {"layer_0": params["layer_1"]}}, below)
        return model.apply({"params": params}, feature_BTD)[0], expected

    np.testing.assert_allclose(*run(feature_BTD), rtol=1e-6, atol=1e-6)


def test_short_sequences_are_unrolled_whole():
    assert [unroll_steps(steps) for steps in (1, 4, 8, 9, 64)] == [1, 4, 8, 1, 1]
