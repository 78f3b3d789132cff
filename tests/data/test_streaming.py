import itertools

import jax
import numpy as np
import pytest

from crnn_jax import mesh as mesh_lib
from crnn_jax.config import default_config
from crnn_jax.data import order, sources
from crnn_jax.data.streaming import StreamingPipeline
from crnn_jax.errors import CorruptImageError, UserError


def make(split, batch_size=16, num_workers=0, skip_corrupt=False):
    return StreamingPipeline(
        split,
        batch_size=batch_size,
        seed=3,
        mesh=mesh_lib.make_mesh(),
        skip_corrupt=skip_corrupt,
        num_workers=num_workers,
    )


def take(pipeline, start_step, count):
    inputs = pipeline.train_inputs(start_step)
    batches = [jax.device_get(batch) for batch in itertools.islice(inputs, count)]
    inputs.close()
    return batches


def test_a_batch_is_what_the_order_says(memory_split):
    split = memory_split(50)
    for step, batch in enumerate(take(make(split), 0, 8)):
        epoch_B, example_B = order.example_at(order.positions(step, 16, np), 50, 3, np)
        np.testing.assert_array_equal(batch["epoch_B"], epoch_B)
        np.testing.assert_array_equal(batch["example_B"], example_B)
        np.testing.assert_array_equal(batch["image_BHWC"], split.read.image_NHWC[example_B])
        np.testing.assert_array_equal(batch["label_B"], example_B % 10)


def test_starting_late_continues_the_order(memory_split):
    pipeline = make(memory_split(50))
    whole, rest = take(pipeline, 0, 9), take(pipeline, 6, 3)
    jax.tree.map(np.testing.assert_array_equal, whole[6:], rest)


def test_worker_processes_change_nothing():
    split = sources.load_source(default_config("crnn").data, 0).train
    threads, processes = make(split), make(split, num_workers=2)
    jax.tree.map(np.testing.assert_array_equal, take(threads, 5, 5), take(processes, 5, 5))


def test_batches_are_sharded_over_the_data_axis(memory_split):
    pipeline = make(memory_split(50))
    inputs = pipeline.train_inputs(0)
    for leaf in next(inputs).values():
        assert leaf.sharding.is_equivalent_to(mesh_lib.batch_sharding(pipeline.mesh), leaf.ndim)
    inputs.close()


def test_a_process_reads_its_rows_only(memory_split, monkeypatch):
    split = memory_split(50)
    whole = take(make(split), 0, 1)[0]
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    monkeypatch.setattr(jax, "process_index", lambda: 2)
    monkeypatch.setattr(mesh_lib, "place", lambda batch, sharding: batch)
    part = take(make(split), 0, 1)[0]
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[8:12], b), whole, part)


def test_an_unreadable_image_ends_it_by_name_or_has_weight_0(memory_split):
    split = memory_split(50, corrupt=[4])
    with pytest.raises(CorruptImageError, match=r"image 4 .*data.skip_corrupt"):
        take(make(split), 0, 4)
    for batch in take(make(split, skip_corrupt=True), 0, 8):
        np.testing.assert_array_equal(batch["weight_B"], batch["example_B"] != 4)
        assert not batch["image_BHWC"][batch["weight_B"] == 0].any()


def test_a_batch_that_the_devices_do_not_divide(memory_split):
    with pytest.raises(UserError, match=r"'batch_size'.*found 12"):
        make(memory_split(50), batch_size=12).train_inputs(0)
