"""Shared memory is filled again only when nothing looks at what it holds."""

from multiprocessing.shared_memory import SharedMemory

import jax
import numpy as np
import pytest

from crnn_jax import mesh as mesh_lib
from crnn_jax.data.slots import _FOLDER, MainSlots, WorkerSlots

SHAPE = (3, 4, 5, 3)


@pytest.fixture
def main_slots():
    slots = MainSlots()
    yield slots
    slots.close()


def send(worker, value):
    """Returns what a worker sends that filled a slot with `value`."""
    room_NHWC, filled = worker.take(SHAPE)
    room_NHWC[:] = value
    return filled


def test_a_slot_is_free_when_its_last_view_is_gone(main_slots):
    worker = WorkerSlots(main_slots.prefix)
    first = send(worker, 1)
    array_NHWC = main_slots.array(first)
    view_HWC = np.asarray(array_NHWC)[2]
    del array_NHWC
    second = send(worker, 2)
    assert second.name != first.name
    np.testing.assert_array_equal(view_HWC, np.ones(SHAPE[1:]))
    del view_HWC
    third = send(worker, 3)
    assert third.name == first.name
    assert (main_slots.array(second) == 2).all()  # never seen until now, and still there
    assert (main_slots.array(third) == 3).all()


def test_a_device_array_keeps_the_slot_that_it_lies_in(main_slots):
    worker = WorkerSlots(main_slots.prefix)
    sharding = mesh_lib.replicated(mesh_lib.make_mesh(1))
    first = send(worker, 1)
    placed_NHWC = mesh_lib.place(main_slots.array(first), sharding)
    others = [send(worker, 2) for _ in range(3)]
    assert first.name not in {filled.name for filled in others}
    np.testing.assert_array_equal(jax.device_get(placed_NHWC), np.ones(SHAPE))
    del placed_NHWC
    mesh_lib.place(np.zeros(1), sharding)  # JAX lets go of what is gone with its next call
    assert send(worker, 3).name == first.name


def test_larger_images_get_a_larger_slot(main_slots):
    worker = WorkerSlots(main_slots.prefix)
    small = send(worker, 1)
    del small  # never received: it stays in use
    room_NHWC, filled = worker.take((2, *SHAPE[1:]))
    room_NHWC[:] = 4
    main_slots.array(filled)
    room_NHWC, filled = worker.take((9, *SHAPE[1:]))
    room_NHWC[:] = 5
    assert (main_slots.array(filled) == 5).all()


def test_at_the_end_no_slot_is_left_and_arrays_are_whole():
    slots = MainSlots()
    workers = [WorkerSlots(slots.prefix) for _ in range(2)]
    sent = [send(worker, 7) for worker in workers for _ in range(2)]
    assert len({filled.name for filled in sent}) == 4
    array_NHWC = slots.array(sent[0])
    slots.close()
    assert (array_NHWC == 7).all()
    for filled in sent:
        with pytest.raises(FileNotFoundError):
            SharedMemory(filled.name)
    MainSlots().close()  # of a stream without workers


def test_a_slot_that_never_had_a_size_is_removed():
    main = MainSlots()
    SharedMemory(f"{main.prefix}_0", create=True, size=1).close()  # the worker's name
    empty = _FOLDER / f"{main.prefix}_0_0"
    empty.touch()  # as a worker leaves it that is killed between its making and its size
    main.close()
    assert not list(_FOLDER.glob(f"{main.prefix}*"))
