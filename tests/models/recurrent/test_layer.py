"""Recurrent layers against flax's cells, hand-computed numbers and each other."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from crnn_jax.models.recurrent import Recurrent, RecurrentLayer, fastest
from crnn_jax.models.recurrent.cells import CELLS

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
    ("cell", "how"),
    [
        ("elman", "scan"),
        ("gru", "scan"),
        ("gru", "hoisted"),
        ("lstm", "hoisted"),
        ("mingru", "associative"),
    ],
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


LENGTHS = jnp.array([9, 4, 1])
WAYS = [  # cell, implementation, remat; the first of a cell is what the others must equal
    *[(cell, how, remat) for cell in CELLS for remat in (False, True) for how in BOTH],
    ("mingru", "associative", False),
    ("gru", "fused", False),
]


def loss_of(model, mask_BT=None):
    def loss(variables, feature_BTD):
        state_BTN, last_BN = model.apply(variables, feature_BTD, mask_BT)
        return (state_BTN**2).sum() + (last_BN**3).sum()

    return loss


# 9 steps are a loop, 5 and 1 are unrolled, and have a backward pass of other products.
@pytest.mark.long
@pytest.mark.parametrize(
    ("cell", "steps", "masked"),
    [*((cell, 9, True) for cell in CELLS), ("gru", 9, False), ("gru", 5, True), ("gru", 1, False)],
)
def test_all_implementations_are_one_in_values_and_gradients(cell, steps, masked, draw):
    feature_BTD = features(steps=steps)
    mask_BT = jnp.arange(steps)[None, :] < LENGTHS[:, None] if masked else None
    models = [make(c, bidirectional=True, how=h, remat=r) for c, h, r in WAYS if c == cell]
    variables = draw(models[0], feature_BTD)
    shapes = jax.tree.map(jnp.shape, variables)

    @jax.jit
    def run(variables, feature_BTD):
        return [
            jax.value_and_grad(loss_of(model, mask_BT), (0, 1))(variables, feature_BTD)
            for model in models
        ]

    first, *others = run(variables, feature_BTD)
    for model, other in zip(models[1:], others, strict=True):
        assert jax.tree.map(jnp.shape, draw(model, feature_BTD)) == shapes
        for expected, found in zip(*map(jax.tree.leaves, (first, other)), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("cell", "how"), [("gru", "hoisted"), ("lstm", "scan"),
                                           ("mingru", "associative")])  # fmt: skip
def test_masked_steps_are_as_if_they_were_not_there(cell, how, draw):
    feature_BTD = features(steps=9)
    model = make(cell, bidirectional=True, how=how)
    variables = draw(model, feature_BTD)
    mask_BT = jnp.arange(9)[None, :] < LENGTHS[:, None]
    spoilt_BTD = jnp.where(mask_BT[..., None], feature_BTD, 99.0)  # what is masked is not read

    @jax.jit
    def run(spoilt_BTD):
        alone = [
            model.apply(variables, feature_BTD[row : row + 1, :length])
            for row, length in enumerate(LENGTHS.tolist())
        ]
        grads = jax.grad(loss_of(model, mask_BT), 1)(variables, spoilt_BTD)
        return model.apply(variables, spoilt_BTD, mask_BT), alone, grads

    (state_BTN, last_BN), alone, grad_BTD = run(spoilt_BTD)
    for row, (expected_1TN, expected_1N) in enumerate(alone):
        found = state_BTN[row, : expected_1TN.shape[1]]
        np.testing.assert_allclose(found, expected_1TN[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(last_BN[row], expected_1N[0], rtol=1e-5, atol=1e-6)
    assert not np.abs(grad_BTD[~mask_BT]).any()


def test_remat_needs_less_memory():
    feature_BTD = jax.ShapeDtypeStruct((4, 64, 8), jnp.float32)

    def temporary_bytes(how, remat):
        model = make(units=32, how=how, remat=remat)
        variables = jax.eval_shape(model.init, jax.random.key(0), feature_BTD)
        program = jax.jit(jax.grad(loss_of(model))).lower(variables, feature_BTD).compile()
        memory = program.memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert temporary_bytes("scan", True) < 0.6 * temporary_bytes("scan", False)
    assert temporary_bytes("hoisted", True) < 0.6 * temporary_bytes("hoisted", False)
    # Gates take the place of projected inputs, and gradients that of gates.
    assert temporary_bytes("hoisted", False) < 0.8 * temporary_bytes("scan", False)


def test_auto_asks_for_the_layers_own_dtype(monkeypatch):
    measured = {
        ("gpu", "float32"): {(8, 128, 128): "hoisted"},
        ("gpu", "bfloat16"): {(8, 128, 128): "scan"},
    }
    monkeypatch.setattr(fastest, "MEASURED", measured)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = []

    def note(next_call, args, kwargs, context):
        if isinstance(context.module, RecurrentLayer) and context.method_name == "__call__":
            found.append(context.module.implementation)
            return jnp.zeros((3, 5, 6)), jnp.zeros((3, 6))
        return next_call(*args, **kwargs)

    for dtype in (jnp.float32, jnp.bfloat16):
        model = make(how="auto", dtype=dtype)
        with nn.intercept_methods(note):
            jax.eval_shape(lambda x, model=model: model.init(jax.random.key(0), x), features())
    assert found == ["hoisted", "scan"]
