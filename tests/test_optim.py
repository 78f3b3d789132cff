"""Schedules at known steps, and one optimizer step by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from crnn_jax import optim
from crnn_jax.config import default_config


def optim_config(**changes):
    config = default_config("crnn").optim
    for key, value in changes.items():
        config[key] = value
    return config


@pytest.mark.parametrize(
    ("name", "at_60", "at_110"),
    [("constant", 1.0, 1.0), ("linear", 0.5, 0.0), ("cosine", 0.5, 0.0)],
)
def test_schedule(name, at_60, at_110):
    config = optim_config(learning_rate=1.0, schedule=name)
    schedule: Any = optim.make_schedule(config, total_steps=110, warmup_steps=10)
    values = [float(schedule(step)) for step in (0, 5, 10, 60, 110)]
    np.testing.assert_allclose(values, [0.0, 0.5, 1.0, at_60, at_110], atol=1e-6)


def test_schedule_without_warmup_starts_at_the_peak():
    schedule = optim.make_schedule(optim_config(learning_rate=0.3), 100, 0)
    assert schedule(0) == pytest.approx(0.3)


PARAMS = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
ZERO = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}


def one_step(config, grads):
    return run_steps(config, [grads], PARAMS)[-1]


def run_steps(config, grads, params, total_steps=10, layer_decay=1.0, dtype="float32"):
    """The weights after each of the steps, at a rate of 0.1."""
    optimizer = optim.make_optimizer(
        config,
        optax.constant_schedule(0.1),
        total_steps,
        layer_decay=layer_decay,
        dtype=jnp.dtype(dtype),
    )

    @jax.jit
    def step(grads, state, params):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state, seen = optimizer.init(params), []
    for grad in grads:
        params, state = step(grad, state, params)
        seen.append(params)
    return seen


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_decay_skips_biases(name):
    params = one_step(optim_config(name=name, weight_decay=0.5, momentum=0.0), ZERO)
    np.testing.assert_allclose(params["kernel"], 0.95, rtol=1e-6)
    np.testing.assert_allclose(params["bias"], 1.0)


def test_nesterov_by_hand():
    # v = g; update = momentum v + g.
    params = one_step(optim_config(name="sgd", momentum=0.9), {**ZERO, "bias": jnp.ones(2)})
    np.testing.assert_allclose(params["bias"], 1 - 0.1 * 1.9, rtol=1e-6)


def test_adam_first_step_is_the_rate():
    grads = {"kernel": jnp.full((2, 2), 7.0), "bias": jnp.full(2, -3.0)}
    params = one_step(optim_config(name="adam"), grads)
    np.testing.assert_allclose(params["kernel"], 0.9, rtol=1e-5)
    np.testing.assert_allclose(params["bias"], 1.1, rtol=1e-5)


def test_clipping_bounds_the_global_norm():
    config = optim_config(name="sgd", momentum=0.0, nesterov=False, clip_norm=1.0)
    params = one_step(config, {**ZERO, "bias": jnp.array([30.0, 40.0])})
    np.testing.assert_allclose(params["bias"], [1 - 0.06, 1 - 0.08], rtol=1e-5)


def network():
    """Shapes of a model's parameters, with a tall and a wide matrix among them."""
    random = np.random.default_rng(0)
    shapes = {
        "trunk": {"conv_0_0": {"kernel": (3, 3, 2, 5)}, "norm_0_0": {"scale": (5,), "bias": (5,)}},
        "recurrent": {"layer_0": {"kernel_x": (4, 6), "bias": (6,), "bias_h": (2,)}},
        "head": {"dense": {"kernel": (6, 3), "bias": (3,)}},
        "consensus_weight": (3,),
    }
    return jax.tree.map(
        lambda shape: jnp.asarray(random.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def test_groups_of_parameters():
    assert optim.groups(network()) == {
        "trunk": {
            "conv_0_0": {"kernel": "matrix"},
            "norm_0_0": {"scale": "other", "bias": "bias"},
        },
        "recurrent": {"layer_0": {"kernel_x": "matrix", "bias": "bias", "bias_h": "bias"}},
        "head": {"dense": {"kernel": "head", "bias": "bias"}},
        "consensus_weight": "other",
    }


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_multipliers_are_learning_rates_of_their_groups(name):
    params, grads = network(), jax.tree.map(jnp.sin, network())
    plain = run_steps(optim_config(name=name, weight_decay=0.1), [grads], params)
    config = optim_config(
        name=name,
        weight_decay=0.1,
        bias_learning_rate_multiplier=3.0,
        head_learning_rate_multiplier=0.5,
    )
    changed = run_steps(config, [grads], params)
    factor = {"bias": 3.0, "head": 0.5, "matrix": 1.0, "other": 1.0}
    jax.tree.map(
        lambda group, old, one, other: np.testing.assert_allclose(
            other - old, factor[group] * (one - old), rtol=1e-3, atol=1e-6
        ),
        optim.groups(params),
        params,
        plain[0],
        changed[0],
    )


def test_depths_by_hand():
    leaf = {"kernel": 0}
    tree = {
        "trunk": {"whiten": leaf, "conv_0_0": leaf, "norm_0_1": leaf, "conv_1_0": leaf},
        "recurrent": {"layer_0": leaf, "layer_1": leaf},
        "readout": leaf,
        "head": {"dense": leaf},
        "consensus_weight": 0,
    }
    numbers = {"recurrent": 1, "readout": 1, "head": 0, "consensus_weight": 0}
    stages = {"whiten": 3, "conv_0_0": 3, "norm_0_1": 3, "conv_1_0": 2}
    found = optim.depths(tree)
    assert {key: found["trunk"][key]["kernel"] for key in stages} == stages
    for key, number in numbers.items():
        assert set(jax.tree.leaves(found[key])) == {number}
    deep = {"columns_0": leaf, "rows_0": leaf, "columns_1": leaf, "rows_1": leaf, "head": leaf}
    assert jax.tree.leaves(optim.depths(deep)) == [2, 1, 0, 2, 1]
    assert jax.tree.leaves(optim.depths({"trunk": {"conv_2_0": leaf}, "head": leaf})) == [0, 1]
    reseg = {"trunk": {"conv_0_0": leaf}, "columns_0": leaf, "decoder": leaf, "head": leaf}
    assert jax.tree.leaves(optim.depths(reseg)) == [2, 1, 0, 3]
    names = ("embed_0", "block_0_0", "block_0_1", "embed_1", "norm", "head")
    found = optim.depths(dict.fromkeys(names, leaf))
    assert [found[name]["kernel"] for name in names] == [4, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("name", ["sgd", "muon"])
def test_rates_fall_with_the_depth(name):
    params, grads = network(), jax.tree.map(jnp.sin, network())
    config = optim_config(name=name, weight_decay=0.1, bias_learning_rate_multiplier=2.0)
    (plain,) = run_steps(config, [grads], params)
    (changed,) = run_steps(config, [grads], params, layer_decay=0.5)
    factor = {"trunk": 0.25, "recurrent": 0.5, "head": 1.0, "consensus_weight": 1.0}
    for part, expected in factor.items():
        jax.tree.map(
            lambda old, one, other, factor=expected: np.testing.assert_allclose(
                other - old, factor * (one - old), rtol=1e-3, atol=1e-6
            ),
            params[part],
            plain[part],
            changed[part],
        )


def test_muon_of_a_head_alone_is_adamw():
    params = {"head": network()["head"]}
    grads = jax.tree.map(jnp.cos, params)
    config = optim_config(name="muon", learning_rate=0.1, muon_adamw_learning_rate=0.1)
    (found,) = run_steps(config, [grads], params)
    (expected,) = run_steps(optim_config(name="adamw"), [grads], params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def newton_schulz(matrix, iterations):
    """Jordan et al. 2024, in numpy."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / np.linalg.norm(matrix)
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


@pytest.mark.smoke
def test_muon_makes_the_momentum_of_matrices_orthogonal_and_leaves_the_rest_to_adamw():
    params, grads = network(), jax.tree.map(jnp.cos, network())
    config = optim_config(
        name="muon",
        learning_rate=0.1,
        muon_adamw_learning_rate=0.02,
        muon_iterations=3,
        weight_decay=0.5,
    )
    found = run_steps(config, [grads], params)[0]
    conv, grad = (np.asarray(tree["trunk"]["conv_0_0"]["kernel"]) for tree in (params, grads))
    step = newton_schulz(grad.reshape(18, 5).T, 3).T.reshape(3, 3, 2, 5)
    expected = conv - 0.1 * (step + 0.5 * conv)
    np.testing.assert_allclose(found["trunk"]["conv_0_0"]["kernel"], expected, atol=1e-5)
    wide, grad = (np.asarray(tree["recurrent"]["layer_0"]["kernel_x"]) for tree in (params, grads))
    expected = wide - 0.1 * (1.5**0.5 * newton_schulz(grad, 3) + 0.5 * wide)
    np.testing.assert_allclose(found["recurrent"]["layer_0"]["kernel_x"], expected, atol=1e-5)
    # AdamW's first step is the rate, in the gradient's direction; only the head decays.
    for path, decay in ((("head", "dense", "kernel"), 0.5), (("trunk", "norm_0_0", "bias"), 0.0)):
        before, grad, after = params, grads, found
        for key in path:
            before, grad, after = before[key], grad[key], after[key]
        expected = before - 0.02 * (jnp.sign(grad) + decay * before)
        np.testing.assert_allclose(after, expected, atol=1e-5)


def test_muon_orthogonalises():
    config = optim_config(name="muon", learning_rate=0.1)
    params, grads = network(), jax.tree.map(jnp.cos, network())
    after = run_steps(config, [grads], params)[0]
    step = params["recurrent"]["layer_0"]["kernel_x"] - after["recurrent"]["layer_0"]["kernel_x"]
    singular = np.linalg.svd(np.asarray(step) / (0.1 * 1.5**0.5), compute_uv=False)
    assert singular.min() > 0.5
    assert singular.max() < 1.5


def test_muon_in_bfloat16_moves_as_in_float32_but_for_rounding():
    """A rounding is 2**-9 of a product; all that is not Muon's is the same to the bit."""
    config = optim_config(name="muon", learning_rate=0.1)
    params = network()
    grads = [jax.tree.map(lambda x, at=at: jnp.cos(x + at), params) for at in range(3)]
    steps = {
        dtype: jax.tree.map(
            lambda a, b: np.asarray(a - b),
            params,
            run_steps(config, grads, params, dtype=dtype)[-1],
        )
        for dtype in ("float32", "bfloat16")
    }
    groups = jax.tree.leaves(optim.groups(params))
    assert set(groups) == {"matrix", "head", "bias", "other"}
    for group, *pair in zip(groups, *map(jax.tree.leaves, steps.values()), strict=True):
        expected, found = pair
        assert found.dtype == np.float32
        if group == "matrix":
            assert 1e-4 < np.abs(found - expected).max() / np.abs(expected).max() < 0.1
        else:
            np.testing.assert_array_equal(found, expected)


def test_muon_keeps_the_same_state_in_both_precisions():
    """A float32 momentum, equal to the bit, so that a run may be opened in either."""
    config, params = optim_config(name="muon", learning_rate=0.1), network()
    grads, states = jax.tree.map(jnp.cos, params), []
    for dtype in ("float32", "bfloat16"):
        optimizer = optim.make_optimizer(
            config, optax.constant_schedule(0.1), 10, layer_decay=1.0, dtype=jnp.dtype(dtype)
        )
        states.append(jax.jit(optimizer.update)(grads, optimizer.init(params), params)[1])
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    for one, other in zip(*map(jax.tree.leaves, states), strict=True):
        assert one.dtype == other.dtype != jnp.bfloat16
        np.testing.assert_array_equal(one, other)


def test_lookahead_by_hand():
    """Every 2 steps of -0.1: 1 -> .9 -> (.8) 1 - .2 / 4; the fifth step is the last, so it too."""
    config = optim_config(
        name="sgd", momentum=0.0, nesterov=False, lookahead_steps=2, lookahead_alpha=0.25
    )
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    seen = [params["bias"][0] for params in run_steps(config, [ones] * 5, PARAMS, total_steps=5)]
    np.testing.assert_allclose(seen, [0.9, 0.95, 0.85, 0.90, 0.875], rtol=1e-6)


def test_lookahead_with_a_ramp_starts_as_the_fast_weights():
    """After step 1 of 2 alpha is 1 - 0.5 / 2**2, after step 2 it is 0.5."""
    config = optim_config(
        name="sgd", momentum=0.0, nesterov=False, lookahead_steps=1, lookahead_ramp=2.0
    )
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    seen = [params["bias"][0] for params in run_steps(config, [ones] * 2, PARAMS, total_steps=2)]
    np.testing.assert_allclose(seen, [1 - 0.0875, 1 - 0.0875 - 0.05], rtol=1e-6)
