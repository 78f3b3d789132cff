import functools
import itertools
from multiprocessing.shared_memory import SharedMemory

import jax
import numpy as np
import pytest

from crnn_jax import mesh as mesh_lib
from crnn_jax.config import default_config
from crnn_jax.data import order, reading, slots, streaming
from crnn_jax.data.crops import Crop
from crnn_jax.data.jpeg import decode_box
from crnn_jax.data.sources import load_source
from crnn_jax.data.splits import labelled_fields, subset
from crnn_jax.data.streaming import StreamingPipeline
from crnn_jax.errors import CorruptImageError, UserError

CROP = Crop("random_resized", 8, 9, 0.08, seed=4)


def make(split, batch_size=16, num_workers=0, skip_corrupt=False, view=None):
    return StreamingPipeline(
        split,
        batch_size=batch_size,
        seed=3,
        mesh=mesh_lib.make_mesh(),
        skip_corrupt=skip_corrupt,
        num_workers=num_workers,
        view=view,
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
        np.testing.assert_array_equal(batch["image"], split.read.image_NHWC[example_B])
        np.testing.assert_array_equal(batch["label"], example_B % 10)


def test_starting_late_continues_the_order(memory_split):
    pipeline = make(memory_split(50))
    whole, rest = take(pipeline, 0, 9), take(pipeline, 6, 3)
    jax.tree.map(np.testing.assert_array_equal, whole[6:], rest)


def test_worker_processes_change_nothing():
    split = load_source(default_config("crnn").data, 0).train
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
        assert not batch["image"][batch["weight_B"] == 0].any()


def test_a_batch_that_the_devices_do_not_divide(memory_split):
    with pytest.raises(UserError, match=r"'batch_size'.*found 12"):
        make(memory_split(50), batch_size=12).train_inputs(0)


def expected_crop(split, crop, epoch, example):
    data, _, name = split.encoded([example])[0]
    return decode_box(data, functools.partial(crop.box, epoch, example), (8, 8, 3), name)


def test_training_sees_the_crop_of_each_epoch_and_example(encoded_split):
    split = encoded_split(40)
    for batch in take(make(split, view=CROP), 0, 5):
        for row, (epoch, example) in enumerate(
            zip(batch["epoch_B"].tolist(), batch["example_B"].tolist(), strict=True)
        ):
            np.testing.assert_array_equal(
                batch["image"][row], expected_crop(split, CROP, epoch, example)
            )
            assert batch["label"][row] == example % 10


def test_evaluation_sees_the_centre_of_each_example_once(encoded_split):
    split = encoded_split(21)
    batches = [jax.device_get(inputs) for inputs, _ in make(split, view=CROP).eval_inputs()]
    keys = ("image", "weight_B", "example_B")
    rows = [row for batch in batches for row in zip(*(batch[k] for k in keys), strict=True)]
    assert [(int(example), weight) for _, weight, example in rows if weight] == [
        (example, 1) for example in range(21)
    ]
    for image_HWC, weight, example in rows:
        if weight:
            centre = expected_crop(split, CROP.evaluation(), 0, int(example))
            np.testing.assert_array_equal(image_HWC, centre)
        else:
            assert not image_HWC.any()


@pytest.mark.parametrize("view", [None, CROP])
def test_a_batch_in_parts_is_the_same_batch(encoded_split, monkeypatch, view):
    split = encoded_split(40, corrupt=[3])
    whole = take(make(split, view=view, skip_corrupt=True), 2, 4)
    monkeypatch.setattr(streaming, "_CHUNK_BYTES", 8 * 8 * 3 * 5)  # parts of 5 or so
    parts = take(make(split, view=view, skip_corrupt=True), 2, 4)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    evaluations = []
    for size in (2**24, 8 * 8 * 3 * 3):
        monkeypatch.setattr(streaming, "_CHUNK_BYTES", size)
        inputs = make(split, view=view, skip_corrupt=True).eval_inputs()
        evaluations.append([jax.device_get(batch) for batch, _ in inputs])
    jax.tree.map(np.testing.assert_array_equal, *evaluations)


def test_an_unreadable_image_in_a_crop(encoded_split):
    split = encoded_split(40, corrupt=[7])
    with pytest.raises(CorruptImageError, match=r"image 7: .*data.skip_corrupt"):
        take(make(split, view=CROP), 0, 3)
    for batch in take(make(split, view=CROP, skip_corrupt=True), 0, 3):
        np.testing.assert_array_equal(batch["weight_B"], batch["example_B"] != 7)
        assert not batch["image"][batch["weight_B"] == 0].any()


def test_only_image_files_can_be_cropped(memory_split):
    with pytest.raises(UserError, match=r"'data.crop' expects 'none'.*found 'random_resized'"):
        make(memory_split(20), view=CROP)


def test_a_subset_crops_by_its_own_numbers(encoded_split):
    part = subset(encoded_split(40), np.array([5, 6, 30]))
    for batch in take(make(part, batch_size=8, view=CROP), 0, 2):
        stored = np.array([5, 6, 30])[batch["example_B"]]
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 2], stored)


@pytest.mark.parametrize("num_examples", [1, 2, 3, 5])
def test_a_batch_lies_where_a_cpu_device_takes_it_without_a_copy(num_examples):
    image_NHWC = reading.unread(num_examples, labelled_fields((7, 5, 3))).fields["image"]
    assert image_NHWC.shape == (num_examples, 7, 5, 3)
    placed = mesh_lib.place(image_NHWC, mesh_lib.replicated(mesh_lib.make_mesh()))
    assert placed.addressable_data(0).unsafe_buffer_pointer() == image_NHWC.ctypes.data


def test_batches_of_workers_stay_as_they_were_and_leave_nothing(memory_split, monkeypatch):
    ended = []
    monkeypatch.setattr(slots.MainSlots, "close", lambda self: ended.append(self))
    split = memory_split(50)
    inputs = make(split, num_workers=2).train_inputs(0)
    held = list(itertools.islice(inputs, 12))  # more than are read ahead: no slot may come back
    inputs.close()
    monkeypatch.undo()
    for batch, expected in zip(held, take(make(split), 0, 12), strict=True):
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(batch), expected)
    (end,) = ended
    names = list(end._slots)
    assert len(names) >= 12
    end.close()
    for name in names:
        with pytest.raises(FileNotFoundError):
            SharedMemory(name)
