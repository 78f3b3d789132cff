import jax
import numpy as np
import pytest

from crnn_jax import mesh as mesh_lib
from crnn_jax.errors import UserError


def test_make_mesh_takes_all_devices_or_as_many_as_asked():
    assert mesh_lib.make_mesh().shape == {"data": 8}
    assert mesh_lib.make_mesh(8).shape == {"data": 8}
    assert mesh_lib.make_mesh(2).shape == {"data": 2}
    assert mesh_lib.make_mesh(1).devices.tolist() == jax.devices()[:1]


@pytest.mark.parametrize("data", [3, 0, -2, 16])
def test_make_mesh_refuses_a_number_that_does_not_divide_the_devices(data):
    with pytest.raises(UserError, match=rf"'mesh.data'.*\(8 cpu\), found {data}$"):
        mesh_lib.make_mesh(data)


def test_check_batch_names_the_key_and_what_would_work():
    mesh = mesh_lib.make_mesh()
    mesh_lib.check_batch(16, mesh)
    with pytest.raises(UserError, match=r"'batch_size'.*multiple of the 8.*8 or 16\), found 12"):
        mesh_lib.check_batch(12, mesh)
    with pytest.raises(UserError, match=r"'eval.batch_size'.*such as 8\), found 3"):
        mesh_lib.check_batch(3, mesh, key="eval.batch_size")


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
