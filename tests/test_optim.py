"""Schedules at known steps, and one optimizer step by hand."""

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
    schedule = optim.make_schedule(config, total_steps=110, warmup_steps=10)
    values = [float(schedule(step)) for step in (0, 5, 10, 60, 110)]
    np.testing.assert_allclose(values, [0.0, 0.5, 1.0, at_60, at_110], atol=1e-6)


def test_schedule_without_warmup_starts_at_the_peak():
    schedule = optim.make_schedule(optim_config(learning_rate=0.3), 100, 0)
    assert schedule(0) == pytest.approx(0.3)


PARAMS = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
ZERO = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}


def one_step(config, grads):
    optimizer = optim.make_optimizer(config, optax.constant_schedule(0.1))
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    return optax.apply_updates(PARAMS, updates)


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
