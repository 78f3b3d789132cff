"""The rules that split parameters, and what they come to in bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from crnn_jax import mesh as mesh_lib
from crnn_jax import sharding
from crnn_jax.config import default_config
from crnn_jax.models import MODELS, build_model


def spec(name, shape, *sizes, fsdp=True):
    return tuple(sharding.array_spec(name, shape, mesh_lib.make_mesh(*sizes), fsdp=fsdp))


@pytest.mark.parametrize(
    ("name", "shape", "sizes", "expected"),
    [
        ("params/head/dense/bias", (4096,), (1, 8, 1), ()),  # a vector
        ("params/head/dense/kernel", (32, 10), (1, 8, 1), ()),  # small
        ("params/trunk/conv_0_0/kernel", (3, 3, 32, 64), (1, 8, 1), (None, None, None, "fsdp")),
        ("params/trunk/conv_0_0/kernel", (3, 3, 64, 32), (1, 8, 1), (None, None, "fsdp", None)),
        ("params/trunk/conv_0_0/kernel", (3, 3, 64, 32), (8, 1, 1), ()),
        ("params/trunk/conv_0_0/kernel", (3, 3, 64, 32), (1, 1, 8), ()),  # not over model
        ("params/trunk/conv_0_0/kernel", (3, 3, 33, 35), (1, 8, 1), ()),  # 8 divides nothing
        ("opt_state/0/mu/head/dense/kernel", (512, 10), (1, 2, 4), ("model", "fsdp")),
        ("opt_state/0/mu/head/dense/kernel", (512, 9), (1, 2, 4), ("model", None)),
        ("params/recurrent/layer_0/kernel_x", (64, 96), (2, 2, 2), ("model", "fsdp")),
        ("params/recurrent/layer_0/kernel_h", (32, 96), (4, 1, 2), ("model", None)),
        ("params/columns_0/layer_0_reverse/kernel_x", (64, 96), (4, 1, 2), ("model", None)),
        ("opt_state/0/mu/rows_1/layer_0/kernel_h", (32, 96), (4, 1, 2), ("model", None)),
        ("params/readout/kernel", (64, 64), (4, 1, 2), ("model", None)),
    ],
)
def test_rules(name, shape, sizes, expected):
    assert spec(name, shape, *sizes) == expected


@pytest.mark.parametrize("name", MODELS)
def test_no_model_hides_its_matrices_from_the_axis_model(name):
    """Whatever its layers are called: each large kernel of two axes is split, and no other."""
    config = default_config(name).model
    if name == "sequencer":
        config.depths = (1, 1, 1, 1)
    model = build_model(config, 128, jnp.float32)
    pixels = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), pixels)
    mesh = mesh_lib.make_mesh(4, 1, 2)
    found = sharding.tree_shardings(shapes["params"], mesh)
    split = jax.tree.map(lambda sharding: tuple(sharding.spec) == ("model", None), found)
    even = jax.tree.map(lambda x: len(x.shape) == 2 and x.shape[0] % 2 == 0, shapes["params"])
    assert split == even


def test_the_step_computes_with_what_fsdp_split_gathered():
    name, shape = "params/recurrent/layer_0/kernel_x", (64, 96)
    assert spec(name, shape, 2, 2, 2, fsdp=False) == ("model", None)
    assert spec(name, shape, 1, 8, 1, fsdp=False) == ()


def test_gather_and_scatter_place_and_change_nothing():
    mesh = mesh_lib.make_mesh(1, 4, 2)
    tree = {"dense": {"kernel": jnp.arange(4096.0).reshape(64, 64)}, "bias": jnp.ones(64)}
    split = jax.jit(lambda x: sharding.scatter(x, mesh))(tree)
    whole = jax.jit(lambda x: sharding.gather(x, mesh))(split)
    assert split["dense"]["kernel"].sharding.spec == PartitionSpec("model", "fsdp")
    assert whole["dense"]["kernel"].sharding.shard_shape((64, 64)) == (32, 64)
    np.testing.assert_array_equal(split["dense"]["kernel"], tree["dense"]["kernel"])
    np.testing.assert_array_equal(whole["dense"]["kernel"], tree["dense"]["kernel"])
    alone = mesh_lib.make_mesh(8)
    assert sharding.gather(tree, alone) is tree  # nothing to split: the step is what it was


def test_explain_says_how_every_array_lies():
    mesh = mesh_lib.make_mesh(1, 8, 1)
    tree = {"kernel": jnp.zeros((16, 128)), "step": jnp.int32(0)}
    tree = jax.device_put(tree, sharding.tree_shardings(tree, mesh))
    assert list(sharding.explain(tree)) == [
        "kernel  16x128 float32  None, fsdp  1,024 of 8,192 B",
        "step  scalar int32  on every device  4 of 4 B",
        "in all 1,028 of 8,196 B on each device",
    ]
