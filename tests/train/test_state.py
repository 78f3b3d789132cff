"""The averaged weights, and random keys as functions of (seed, step)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from crnn_jax.train.state import TrainState, step_rngs, update_ema, variables


def make_state(value, ema=None, step=0, seed=0):
    params = {"kernel": jnp.full((2,), value)}
    return TrainState(
        step=jnp.int32(step),
        seed=jnp.uint32(seed),
        norm={},
        params=params,
        batch_stats={"mean": jnp.full((2,), -value)},
        opt_state=optax.EmptyState(),
        ema=ema,
    )


def test_average_is_debiased_by_hand():
    zero = {"params": {"kernel": jnp.zeros(2)}, "batch_stats": {"mean": jnp.zeros(2)}}
    state = update_ema(make_state(4.0, ema=zero, step=1), 0.75)
    # After one step the average of one value is that value, not a quarter of it.
    np.testing.assert_allclose(variables(state, "ema", 0.75)["params"]["kernel"], 4.0)
    np.testing.assert_allclose(variables(state, "ema", 0.75)["batch_stats"]["mean"], -4.0)
    state = update_ema(make_state(8.0, ema=state.ema, step=2), 0.75)
    expected = (0.25 * 0.75 * 4 + 0.25 * 8) / (1 - 0.75**2)
    np.testing.assert_allclose(variables(state, "ema", 0.75)["params"]["kernel"], expected)
    np.testing.assert_allclose(variables(state, "last", 0.75)["params"]["kernel"], 8.0)


def test_no_average_is_kept_without_one():
    assert update_ema(make_state(1.0), 0.0).ema is None


def test_keys_depend_on_seed_and_step_alone():
    def bits(**changes):
        return {
            k: int(jax.random.bits(key)) for k, key in step_rngs(make_state(1.0, **changes)).items()
        }

    first = bits(step=3, seed=5)
    assert first == bits(step=3, seed=5)
    assert first != bits(step=4, seed=5)
    assert first != bits(step=3, seed=6)
    assert first["dropout"] != first["snippet"]


def test_the_average_before_the_first_step_is_the_weights():
    params = {"w": jnp.array([1.0, 2.0])}
    zero = {"w": jnp.zeros(2)}
    state = TrainState(
        step=jnp.int32(0), seed=jnp.uint32(0), norm={}, params=params, batch_stats={},
        opt_state=(), ema={"params": zero, "batch_stats": {}},
    )  # fmt: skip
    found = variables(state, "ema", 0.9)
    assert found["params"]["w"].tolist() == [1.0, 2.0]
