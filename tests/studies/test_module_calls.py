"""Calls of modules against numbers by hand, and their sum against the whole model's."""

import jax
import jax.numpy as jnp
import pytest

from crnn_jax.config import default_config
from crnn_jax.flops import forward_flops_per_image
from crnn_jax.models import MODELS, build_model
from crnn_jax.studies.module_calls import module_calls


def small(name, **keys):
    config = default_config(name).model
    sizes = {"width": 4, "stage_multipliers": (1, 2), "num_conv_layers": 3, "hidden_units": 5}
    sizes |= {"patch_sizes": (2,), "depths": (1,), "channels": (6,)}
    for key, value in {**sizes, **keys}.items():
        if key in config:
            config[key] = value
    return build_model(config, 10, jnp.float32)


def test_a_crnn_by_hand():
    calls = {call.path: call for call in module_calls(small("crnn"), (8, 8, 1))}
    conv = calls[("trunk", "conv_0_0")]
    assert conv.output.shape == (1, 4, 4, 4)
    assert conv.flops == 2 * 64 * 9 * 1 * 4  # before the pool
    assert conv.num_parameters == 9 * 1 * 4
    assert calls[("trunk", "norm_0_0")].num_parameters == 2 * 4
    recurrent = calls[("recurrent",)]
    assert recurrent.arguments[0].shape == (1, 2, 2 * 8)
    assert recurrent.flops == 2 * 2 * (16 * 15 + 5 * 15)
    assert recurrent.num_parameters == 16 * 15 + 15 + 5 * 15 + 5
    assert calls[("head",)].num_parameters == 5 * 10 + 10


@pytest.mark.parametrize("name", MODELS)
def test_the_last_call_is_the_model(name):
    model = small(name)
    pixels = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), pixels)
    last = module_calls(model, (8, 8, 3))[-1]
    assert last.path == ()
    assert last.flops == forward_flops_per_image(model, variables, (8, 8, 3))
    assert last.num_parameters == sum(x.size for x in jax.tree.leaves(variables["params"]))
