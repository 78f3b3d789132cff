from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import mesh as mesh_lib
from crnn_jax.data import order, resident
from crnn_jax.data.dataset import make_pipeline
from crnn_jax.errors import UserError


@pytest.fixture
def make(memory_split, tmp_path):
    def make(num_examples=50, batch_size=16, seed=3, devices=8, **split_keys):
        split = memory_split(num_examples, **split_keys)
        pipeline = make_pipeline(
            "resident",
            split,
            batch_size=batch_size,
            seed=seed,
            mesh=mesh_lib.make_mesh(devices),
            cache_dir=tmp_path,
            skip_corrupt=bool(split.read.corrupt),
            num_workers=0,
            fingerprint="f1",
        )
        return split, pipeline

    return make


def test_a_batch_is_what_the_order_says(make):
    split, pipeline = make()
    assemble = jax.jit(pipeline.assemble)
    inputs = next(pipeline.train_inputs(0))
    for step in (0, 3, 1000):  # batch 3 holds parts of two epochs
        batch = assemble(inputs, jnp.int32(step))
        epoch_B, example_B = order.example_at(order.positions(step, 16, np), 50, 3, np)
        np.testing.assert_array_equal(batch["epoch_B"], epoch_B)
        np.testing.assert_array_equal(batch["example_B"], example_B)
        np.testing.assert_array_equal(batch["image"], split.read.image_NHWC[example_B])
        np.testing.assert_array_equal(batch["label"], example_B % 10)
        np.testing.assert_array_equal(batch["weight_B"], np.ones(16))
        for leaf in batch.values():
            assert leaf.sharding.is_equivalent_to(mesh_lib.batch_sharding(pipeline.mesh), leaf.ndim)
    dtypes = [str(batch[name].dtype) for name in sorted(batch)]
    assert dtypes == ["int32", "int32", "uint8", "int32", "float32"]


def test_devices_do_not_change_a_batch(make):
    batches = []
    for devices in (1, 8):
        _, pipeline = make(devices=devices)
        batches.append(jax.jit(pipeline.assemble)(next(pipeline.train_inputs(0)), jnp.uint32(7)))
    jax.tree.map(np.testing.assert_array_equal, *batches)


def test_a_step_transfers_nothing_and_captures_nothing(make):
    _, pipeline = make()
    step = mesh_lib.place(np.int32(0), mesh_lib.replicated(pipeline.mesh))
    run = jax.jit(lambda inputs, step: (pipeline.assemble(inputs, step), step + 1))
    inputs = pipeline.train_inputs(0)
    _, step = run(next(inputs), step)
    with jax.transfer_guard("disallow_explicit"):
        for _ in range(3):
            _, step = run(next(inputs), step)
    assert int(step) == 4
    constants = jax.make_jaxpr(pipeline.assemble)(next(inputs), step).consts
    assert sum(np.size(constant) for constant in constants) < 50


def test_another_seed_is_the_same_program(make):
    _, first = make(seed=0)
    _, second = make(seed=2**32 - 1)
    run: Any = jax.jit(first.assemble)
    batches = [run(next(p.train_inputs(0)), jnp.int32(0))["example_B"] for p in (first, second)]
    assert run._cache_size() == 1
    assert np.any(batches[0] != batches[1])


@pytest.mark.parametrize(("num_examples", "batch_size"), [(50, 16), (48, 16), (5, 500), (1, 1)])
def test_evaluation_sees_each_example_once(make, num_examples, batch_size):
    split, pipeline = make(num_examples, batch_size)
    assemble = jax.jit(pipeline.eval_assemble)
    batches = [jax.device_get(assemble(*inputs)) for inputs in pipeline.eval_inputs()]
    assert len(batches) == pipeline.num_eval_batches == -(-num_examples // batch_size)
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    assert len(whole["label"]) == pipeline.eval_batch_size * len(batches)
    assert pipeline.eval_batch_size % 8 == 0
    np.testing.assert_array_equal(whole["example_B"], np.arange(len(whole["example_B"])))
    np.testing.assert_array_equal(whole["image"][:num_examples], split.read.image_NHWC)
    np.testing.assert_array_equal(whole["label"][:num_examples], np.arange(num_examples) % 10)
    assert whole["weight_B"][:num_examples].all()
    assert whole["weight_B"].sum() == num_examples
    for name in ("image", "label"):
        assert not whole[name][num_examples:].any()


def test_an_unreadable_image_has_weight_0(make):
    _, pipeline = make(corrupt=[4])
    assemble, inputs = jax.jit(pipeline.assemble), next(pipeline.train_inputs(0))
    batches = [assemble(inputs, jnp.int32(step)) for step in range(25)]  # 8 epochs
    for batch in batches:
        np.testing.assert_array_equal(batch["weight_B"], batch["example_B"] != 4)
    assert sum(np.sum(batch["weight_B"] == 0) for batch in batches) == 8


def test_a_batch_that_the_devices_do_not_divide(make):
    _, pipeline = make(batch_size=12)
    with pytest.raises(UserError, match=r"'batch_size'.*found 12"):
        pipeline.train_inputs(0)
    assert pipeline.eval_batch_size == 16


def test_a_split_larger_than_memory(make, monkeypatch):
    monkeypatch.setattr(resident.os, "sysconf", lambda name: 64)
    with pytest.raises(UserError, match=r"GiB on each device.*'data.pipeline' to 'streaming'"):
        make()
