"""Operations counted by hand against the ones counted from the jaxpr."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax import lax

from crnn_jax.config import default_config
from crnn_jax.flops import count_flops, forward_flops_per_image
from crnn_jax.models import build_model
from crnn_jax.models.recurrent import Recurrent


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_dense_is_two_operations_a_weight_and_row():
    assert count_flops(jnp.dot, shape(5, 7), shape(7, 3)) == 2 * 5 * 7 * 3


def test_batched_product_counts_the_batch():
    assert count_flops(jnp.matmul, shape(4, 5, 7), shape(4, 7, 3)) == 2 * 4 * 5 * 7 * 3


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_convolution(groups, strides):
    layer = nn.Conv(6, (3, 5), strides, feature_group_count=groups, use_bias=False)
    variables = {"params": {"kernel": shape(3, 5, 4 // groups, 6)}}
    positions = (8 // strides[0]) * (8 // strides[1])
    expected = 2 * 2 * positions * 6 * (3 * 5 * 4 // groups)
    assert count_flops(layer.apply, variables, shape(2, 8, 8, 4)) == expected


@pytest.mark.parametrize("implementation", ["scan", "hoisted", "fused"])
@pytest.mark.parametrize("num_steps", [1, 5, 20])
def test_gru_counts_every_step(implementation, num_steps):
    layer = Recurrent("gru", 6, 1, False, implementation, False, jnp.float32)
    feature_BTD = shape(2, num_steps, 4)
    variables = jax.eval_shape(layer.init, jax.random.key(0), feature_BTD)
    expected = 2 * 2 * num_steps * (4 * 18 + 6 * 18)
    assert count_flops(layer.apply, variables, feature_BTD) == expected


def test_gradient_of_a_gru_costs_twice_its_forward():
    layer = Recurrent("gru", 6, 1, False, "hoisted", False, jnp.float32)
    feature_BTD = shape(2, 20, 4)
    variables = jax.eval_shape(layer.init, jax.random.key(0), feature_BTD)
    both = jax.value_and_grad(lambda v, x: layer.apply(v, x)[0].sum(), (0, 1))
    forward = count_flops(layer.apply, variables, feature_BTD)
    assert count_flops(both, variables, feature_BTD) == 3 * forward


def test_mingru_has_no_recurrent_product():
    layer = Recurrent("mingru", 6, 1, False, "associative", False, jnp.float32)
    feature_BTD = shape(2, 20, 4)
    variables = jax.eval_shape(layer.init, jax.random.key(0), feature_BTD)
    assert count_flops(layer.apply, variables, feature_BTD) == 2 * 2 * 20 * 4 * 12


def test_nested_programs_are_followed():
    @jax.custom_vjp
    def product(x, y):
        return x @ y

    product.defvjp(lambda x, y: (x @ y, None), lambda _, g: (g, g))

    def fn(x, y):
        taken = lax.cond(x.sum() > 0, lambda: x @ y @ y, lambda: x @ y)
        return jax.jit(product)(x, y) + jax.checkpoint(jnp.dot)(x, y) + taken

    assert count_flops(fn, shape(3, 3), shape(3, 3)) == (1 + 1 + 2) * 2 * 27


def test_of_the_ways_of_several_platforms_the_cheapest_counts():
    def fn(x):
        return lax.platform_dependent(x, cpu=lambda x: x @ x @ x, default=lambda x: x @ x)

    assert count_flops(fn, shape(3, 3)) == 2 * 27


def test_while_loop_with_a_product_is_refused():
    def fn(x):
        return lax.while_loop(lambda y: y.sum() < 9, lambda y: y @ y, x)

    with pytest.raises(ValueError, match="while loop's length"):
        count_flops(fn, shape(3, 3))
    assert count_flops(lambda x: lax.while_loop(lambda y: y < 9, lambda y: y + 1, x), 1.0) == 0


def test_gradient_of_a_dense_layer_costs_twice_its_forward():
    def loss(x, y):
        return (x @ y).sum()

    forward = count_flops(loss, shape(5, 7), shape(7, 3))
    both = count_flops(jax.value_and_grad(loss, argnums=(0, 1)), shape(5, 7), shape(7, 3))
    assert both == 3 * forward


def test_crnn_by_hand_without_computing():
    config = default_config("crnn").model
    config.update({"width": 4, "stage_multipliers": (1, 2), "num_conv_layers": 3})
    config.hidden_units = 5
    model = build_model(config, 10, jnp.float32)
    image_shape = (8, 8, 1)
    variables = jax.eval_shape(
        lambda key, x: model.init(key, x, train=False), jax.random.key(0), shape(1, *image_shape)
    )
    convolutions = 64 * 9 * 1 * 4 + 16 * 9 * 4 * 4 + 16 * 9 * 4 * 8  # the map: 8, 4, 4, then 2
    recurrent = 2 * ((2 * 8) * 15 + 5 * 15)
    expected = 2 * (convolutions + recurrent + 5 * 10)
    assert forward_flops_per_image(model, variables, image_shape) == expected
