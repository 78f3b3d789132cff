"""The fused GRU where its batch is split over devices; its values: test_layer.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from crnn_jax.errors import UserError
from crnn_jax.models.recurrent import fused
from crnn_jax.models.recurrent.hoisted import hoisted
from crnn_jax.models.recurrent.weights import Settings, Weights


def make_inputs(batch, steps, size):
    random = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(0.3 * random.normal(size=shape), jnp.float32)

    weights = Weights(draw(4, 3 * size), draw(3 * size), draw(size, 3 * size), draw(3 * size))
    return draw(batch, steps, 4), weights, (draw(batch, steps, size), draw(batch, size))


@pytest.mark.long
@pytest.mark.parametrize("masked", [False, True])
def test_each_device_runs_its_examples(masked):
    feature_BTD, weights, grads = make_inputs(16, 3, 6)
    lengths_B1 = np.random.default_rng(1).integers(1, 4, (16, 1))
    mask_BT = jnp.arange(3)[None, :] < lengths_B1 if masked else None
    settings = Settings("gru", False, jnp.float32)

    @jax.jit
    def run(feature_BTD, weights, grads):
        call = lambda x, w: fused.fused_recurrence(settings, x, mask_BT, w)  # noqa: E731
        ends, pull = jax.vjp(call, feature_BTD, weights)
        return ends, pull(grads)

    expected = run(feature_BTD, weights, grads)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    by_example = NamedSharding(mesh, P("data"))
    on_all = jax.device_put((feature_BTD, grads), by_example)
    weights = jax.device_put(weights, NamedSharding(mesh, P()))
    program = run.lower(on_all[0], weights, on_all[1]).compile()
    found = program(on_all[0], weights, on_all[1])
    assert found[0][0].sharding.is_equivalent_to(by_example, 3)
    text = program.as_text()
    assert text is not None
    assert "all-gather" not in text
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


def test_units_that_several_programs_share_on_a_gpu_are_one_program_s_here():
    feature_BTD, weights, _ = make_inputs(3, 2, 136)
    weights = jax.tree.map(lambda value: 0.2 * value, weights)
    gpu = fused.choose_tile(3, 192, jnp.float32, 132, 232_448)
    assert gpu is not None
    assert gpu.units < 192

    @jax.jit
    def run(feature_BTD, weights):
        settings = Settings("gru", False, jnp.float32)
        expected_BTN, _ = hoisted(settings, feature_BTD, None, weights)
        return expected_BTN, fused.fused_recurrence(settings, feature_BTD, None, weights)

    # The GRU has a second bias in its candidate alone.
    bias_h = weights.bias_h.at[: 2 * 136].set(0.0)
    expected_BTN, (state_BTN, _) = run(feature_BTD, weights._replace(bias_h=bias_h))
    np.testing.assert_allclose(state_BTN, expected_BTN, rtol=1e-5, atol=1e-5)


def test_weights_that_do_not_fit_are_an_error():
    feature_BTD, weights, _ = jax.eval_shape(lambda: make_inputs(1024, 2, 1024))
    settings = Settings("gru", False, jnp.float32)
    assert not fused.fits(1024, 1024, jnp.float32)
    with pytest.raises(UserError, match="1024 units and 1024 examples a device in float32"):
        jax.eval_shape(
            lambda x, w: fused.fused_recurrence(settings, x, None, w), feature_BTD, weights
        )
