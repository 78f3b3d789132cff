"""Each cell against numbers computed by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.recurrent.cells import parallel_mingru


def make(cell, units):
    return Recurrent(cell, units, 1, False, "hoisted", False, jnp.float32)


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


def test_mingru_by_hand(draw):
    """z = sigmoid(W_z x), n = W_n x, h = (1 - z) h + z n."""
    layer = {"kernel_x": [[0.5, -0.3]], "bias": [0.1, 0.2]}
    hidden = 0.0
    for x in (1.0, -2.0):
        update = sigmoid(0.5 * x + 0.1)
        hidden = (1 - update) * hidden + update * (-0.3 * x + 0.2)
    np.testing.assert_allclose(run_by_hand("mingru", layer), [[hidden]], rtol=1e-6)
    shapes = jax.tree.map(
        jnp.shape, draw(make("mingru", 6), jnp.ones((3, 5, 4)))["params"]["layer_0"]
    )
    assert shapes == {"kernel_x": (4, 12), "bias": (12,)}  # no recurrent weights


def test_associative_scan_accumulates_in_float32():
    """A step adds 2**-9 to 64 states near 1: bfloat16 would lose all of it."""
    gate_x_BTG = jnp.concatenate(
        [jnp.full((1, 64, 1), -6.0, jnp.bfloat16), jnp.full((1, 64, 1), 2.0, jnp.bfloat16)], -1
    )
    state_BTN = jax.jit(parallel_mingru, static_argnames="reverse")(gate_x_BTG, None, reverse=False)
    assert state_BTN.dtype == jnp.float32
    expected = 2.0 * (1 - (1 - 1 / (1 + np.exp(6.0))) ** np.arange(1, 65))
    np.testing.assert_allclose(state_BTN[0, :, 0], expected, rtol=1e-5)
