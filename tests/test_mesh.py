import jax
import numpy as np
import pytest

from crnn_jax import mesh as mesh_lib
from crnn_jax.errors import UserError


def test_make_mesh_takes_all_devices_or_as_many_as_asked():
    def sizes(*arguments):
        return tuple(mesh_lib.make_mesh(*arguments).shape.values())

    assert tuple(mesh_lib.make_mesh().shape) == ("data", "fsdp", "model")
    assert sizes() == sizes(8) == (8, 1, 1)
    assert sizes(2) == (2, 1, 1)
    assert sizes(-1, 2, 2) == sizes(2, 2, 2) == (2, 2, 2)
    assert sizes(1, 4) == (1, 4, 1)
    assert mesh_lib.make_mesh(1).devices.flatten().tolist() == jax.devices()[:1]


@pytest.mark.parametrize("data", [3, 0, -2, 16])
def test_make_mesh_refuses_a_number_that_does_not_divide_the_devices(data):
    with pytest.raises(UserError, match=rf"'mesh.data'.*\(8 cpu\), found {data}$"):
        mesh_lib.make_mesh(data)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((-1, 3, 1), r"'mesh.fsdp' expects a divisor .*\(8 cpu\).*found 3"),
        ((-1, 4, 4), r"'mesh.model' expects a divisor .*found 4"),
        ((4, 4, 1), r"'mesh.data'.*\(8 cpu\) divided by the 4 of 'mesh.fsdp'.*, found 4"),
    ],
)
def test_make_mesh_refuses_axes_that_do_not_fit(sizes, message):
    with pytest.raises(UserError, match=message):
        mesh_lib.make_mesh(*sizes)


def test_every_process_holds_a_part_of_the_batch(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    assert mesh_lib.make_mesh(-1, 2, 4).size == 8
    with pytest.raises(UserError, match=r"'mesh.data' expects -1 or 8, .*2 processes, found 4"):
        mesh_lib.make_mesh(4)
    with pytest.raises(UserError, match=r"'mesh.model' .*one process \(4\), found 8"):
        mesh_lib.make_mesh(1, 1, 8)


def test_check_batch_names_the_key_and_what_would_work():
    mesh = mesh_lib.make_mesh()
    mesh_lib.check_batch(16, mesh)
    with pytest.raises(UserError, match=r"'batch_size'.*multiple of the 8.*8 or 16\), found 12"):
        mesh_lib.check_batch(12, mesh)
    with pytest.raises(UserError, match=r"'eval.batch_size'.*such as 8\), found 3"):
        mesh_lib.check_batch(3, mesh, key="eval.batch_size")
    with pytest.raises(UserError, match=r"times the 3 of 'optim.accumulation_steps' .*24 or 48"):
        mesh_lib.check_batch(32, mesh, steps=3)


def test_padded_batch():
    mesh = mesh_lib.make_mesh()
    assert [mesh_lib.padded_batch(size, mesh) for size in (1, 8, 9, 500)] == [8, 8, 16, 504]


def test_process_rows_are_contiguous_blocks(monkeypatch):
    assert mesh_lib.process_rows(16) == slice(0, 16)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    monkeypatch.setattr(jax, "process_index", lambda: 2)
    assert mesh_lib.process_rows(16) == slice(8, 12)


def test_place_shards_rows_or_replicates():
    mesh = mesh_lib.make_mesh(4)
    value_BD = np.arange(16).reshape(8, 2).astype(np.int32)
    placed = mesh_lib.place({"a": value_BD}, mesh_lib.batch_sharding(mesh))["a"]
    np.testing.assert_array_equal(placed, value_BD)
    for index, shard in enumerate(placed.addressable_shards):
        np.testing.assert_array_equal(shard.data, value_BD[2 * index : 2 * index + 2])
    whole = mesh_lib.place(np.float32(3), mesh_lib.replicated(mesh))
    assert whole.shape == ()
    assert whole.is_fully_replicated
