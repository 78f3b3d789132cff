"""The order of the steps: what is shuffled, by what, and that the layer reads just that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from crnn_jax.config import default_config
from crnn_jax.data.transforms import example_keys
from crnn_jax.models import build_model
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.step_order import fixed_order, order_steps


def keys(*examples):
    example_B = jnp.array(examples, jnp.int32)
    return example_keys(3, jnp.zeros_like(example_B), example_B)


def test_the_fixed_order_keeps_no_neighbours():
    assert [fixed_order(steps).tolist() for steps in (1, 2, 3)] == [[0], [1, 0], [2, 0, 1]]
    assert fixed_order(4).tolist() in ([1, 3, 0, 2], [2, 0, 3, 1])  # all that there are
    for steps in range(4, 70):
        order_T = fixed_order(steps)
        assert sorted(order_T) == list(range(steps))
        assert np.abs(np.diff(order_T)).min() > 1
        assert (order_T == fixed_order(steps)).all()


def test_natural_is_the_very_array_and_fixed_one_order_for_all():
    feature_BTD = jnp.arange(3 * 5 * 2).reshape(3, 5, 2)
    assert order_steps(feature_BTD, "natural", keys(0, 1, 2)) is feature_BTD
    expected_BTD = np.asarray(feature_BTD)[:, fixed_order(5)]
    np.testing.assert_array_equal(order_steps(feature_BTD, "fixed", keys(0, 1, 2)), expected_BTD)


def test_an_image_has_its_own_order_wherever_it_lies():
    feature_BTD = jnp.broadcast_to(jnp.arange(16)[None, :, None], (4, 16, 3))
    shuffled = jax.jit(lambda x, key_B: order_steps(x, "per_image", key_B))
    of_all = np.asarray(shuffled(feature_BTD, keys(7, 8, 9, 10)))
    assert (np.sort(of_all, axis=1) == np.asarray(feature_BTD)).all()
    assert (of_all == of_all[..., :1]).all()  # a step's features stay together
    assert len({tuple(order_T) for order_T in of_all[..., 0]}) == 4
    of_two = shuffled(feature_BTD[:2], keys(10, 8))
    np.testing.assert_array_equal(of_two, of_all[[3, 1]])
    without = order_steps(feature_BTD, "per_image")  # files that are no examples: one order
    assert (without == without[:1]).all()


def test_every_order_is_as_likely():
    count = 6000
    feature_BTD = jnp.broadcast_to(jnp.arange(3)[None, :, None], (count, 3, 1))
    order_BT = np.asarray(order_steps(feature_BTD, "per_image", keys(*range(count))))[..., 0]
    _, counts = np.unique(order_BT, axis=0, return_counts=True)
    assert len(counts) == 6
    assert abs(counts - 1000).max() < 150  # five standard deviations


@pytest.mark.parametrize("step_order", ["natural", "fixed", "per_image"])
@pytest.mark.parametrize("name", ["crnn", "rnn", "lrcn"])
def test_the_recurrence_reads_the_steps_in_this_order(name, step_order, draw):
    """A model's recurrence reads the natural order's steps in the named order."""

    def read(step_order, variables=None):
        config = default_config(name).model
        small = {"width": 2, "stage_multipliers": (1,), "num_conv_layers": 1, "hidden_units": 4}
        config.update({key: value for key, value in small.items() if key in config})
        config.step_order = step_order
        model, found = build_model(config, 3, jnp.float32), []
        image_BHWC = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 8, 1)), jnp.float32)
        if variables is None:
            variables = draw(model, image_BHWC, train=False)

        def record(next_call, args, kwargs, context):
            if isinstance(context.module, Recurrent) and context.method_name == "__call__":
                found.append(args[0])
            return next_call(*args, **kwargs)

        with nn.intercept_methods(record):
            model.apply(variables, image_BHWC, train=False, order_key_B=keys(4, 5))
        return found[0], variables

    feature_BTD, variables = read("natural")
    assert feature_BTD.shape[1] > 3
    found_BTD, _ = read(step_order, variables)
    expected_BTD = order_steps(feature_BTD, step_order, keys(4, 5))
    np.testing.assert_array_equal(found_BTD, expected_BTD)
    assert (step_order == "natural") == bool((found_BTD == feature_BTD).all())
