import pathlib
import shutil
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from crnn_jax import checkpoint
from crnn_jax.checkpoint import Checkpoints
from crnn_jax.errors import UserError
from crnn_jax.run import restore_state


@struct.dataclass
class State:
    step: jax.Array
    seed: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any


def sharding(num_devices: int, *axes: str) -> NamedSharding:
    devices = jax.devices()[:num_devices]
    mesh = jax.make_mesh((num_devices,), ("data",), devices=devices, axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec(*axes))


def make_state(step: int, num_devices: int = 1) -> State:
    rng = np.random.default_rng(step)
    params = {
        "cnn": {"kernel": rng.normal(size=(64, 32)).astype(np.float32)},
        "head": {"bias": jnp.asarray(rng.normal(size=8), jnp.bfloat16), "scale": jnp.float32(2.5)},
    }
    state = State(
        step=jnp.int32(step),
        seed=jnp.uint32(4_000_000_000),
        params=params,
        batch_stats={},
        opt_state=optax.adam(1e-3).init(params),
        ema=None,
    )
    return jax.device_put(state, sharding(num_devices))


def abstract(state: State, num_devices: int = 1) -> Any:
    target = sharding(num_devices)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=target), state)


def of(state: State) -> Any:
    """Returns what `restore_state` asks of an experiment."""
    return types.SimpleNamespace(abstract_state=lambda: abstract(state))


def assert_same(found: Any, expected: State) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def save_all(directory: pathlib.Path, steps: list[int], **keep: Any) -> None:
    with Checkpoints(directory, **{"keep_latest": 9, "keep_best": False} | keep) as checkpoints:
        for step in steps:
            assert checkpoints.save(step, make_state(step))


def reader(directory: pathlib.Path) -> Checkpoints:
    return Checkpoints(directory, keep_latest=9, keep_best=False)


@pytest.mark.smoke
def test_a_state_comes_back_to_the_bit(tmp_path):
    save_all(tmp_path, [7])
    restored = reader(tmp_path).restore(abstract(make_state(7)))
    assert restored is not None
    step, state = restored
    assert step == 7
    assert_same(state, make_state(7))
    assert state.ema is None
    assert state.batch_stats == {}
    assert int(state.seed) == 4_000_000_000


def test_no_checkpoint_is_none(tmp_path):
    assert reader(tmp_path / "absent").restore(abstract(make_state(0))) is None
    assert not (tmp_path / "absent").exists()  # reading changes nothing
    with pytest.raises(UserError, match="found none: train first"):
        restore_state(tmp_path, of(make_state(0)), None)


def test_arrays_may_be_donated_at_once(tmp_path):
    add_one = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    with Checkpoints(tmp_path, keep_latest=2, keep_best=False) as checkpoints:
        first = state = make_state(1)
        checkpoints.save(1, state)
        for _ in range(5):
            state = add_one(state)
        assert first.params["cnn"]["kernel"].is_deleted()  # nothing held on to it
    assert_same(reader(tmp_path).restore_step(1, abstract(make_state(1))), make_state(1))


def test_save_returns_before_the_bytes_are_written(tmp_path, monkeypatch):
    from orbax.checkpoint import v1 as ocp

    save_async, asked = ocp.save_async, []

    class Response:
        def __init__(self, response):
            self.response = response

        def result(self):
            asked.append(True)
            return self.response.result()

    monkeypatch.setattr(ocp, "save_async", lambda *a, **k: Response(save_async(*a, **k)))
    state = jax.device_put({"x": jnp.ones(4)}, sharding(1))
    with Checkpoints(tmp_path, keep_latest=1, keep_best=False) as checkpoints:
        checkpoints.save(1, state)
        assert asked == []  # nobody has waited for the disk
    assert asked == [True]


def test_latest_and_best_are_kept_across_a_restart(tmp_path):
    accuracies = {1: float("nan"), 2: 0.9, 3: 0.9, 4: 0.5, 5: 0.6, 6: None, 7: 0.7}
    for steps in ([1, 2, 3, 4], [5, 6, 7]):
        with Checkpoints(tmp_path, keep_latest=2, keep_best=True) as checkpoints:
            for step in steps:
                value = accuracies[step]
                metrics = None if value is None else {"validation/accuracy": value}
                checkpoints.save(step, make_state(step), metrics)
            assert checkpoints.best_step() == 2  # of equals the earliest
    assert reader(tmp_path).steps() == [2, 6, 7]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "6", "7"]
    assert reader(tmp_path).best_step() == 2


def test_only_the_latest_are_kept_without_keep_best(tmp_path):
    with Checkpoints(tmp_path, keep_latest=1, keep_best=False) as checkpoints:
        for step, accuracy in ((1, 0.9), (2, 0.1)):
            checkpoints.save(step, make_state(step), {"validation/accuracy": accuracy})
        assert checkpoints.steps() == [2]


def test_an_existing_step_is_replaced_only_by_force(tmp_path):
    save_all(tmp_path, [5])
    with reader(tmp_path) as checkpoints:
        other: Any = make_state(6)
        other = other.replace(step=make_state(5).step)
        assert not checkpoints.save(5, other)
        assert_same(checkpoints.restore_step(5, abstract(make_state(5))), make_state(5))
        assert checkpoints.save(5, other, force=True)
        assert_same(checkpoints.restore_step(5, abstract(make_state(5))), other)


def test_an_earlier_step_can_be_saved(tmp_path):
    save_all(tmp_path, [10])
    with Checkpoints(tmp_path, keep_latest=1, keep_best=False) as checkpoints:
        assert checkpoints.save(5, make_state(5))
        assert checkpoints.steps() == [5, 10]


def test_what_a_kill_leaves_is_ignored_and_cleared_by_the_next_save(tmp_path):
    save_all(tmp_path, [1])
    shutil.copytree(tmp_path / "1", tmp_path / "2.orbax-checkpoint-tmp")
    (tmp_path / "3.deleted").mkdir()
    restored = reader(tmp_path).restore(abstract(make_state(1)))
    assert restored is not None
    assert restored[0] == 1
    assert (tmp_path / "2.orbax-checkpoint-tmp").exists()  # it may belong to a running training
    save_all(tmp_path, [2])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]
    assert_same(reader(tmp_path).restore_step(2, abstract(make_state(2))), make_state(2))


def test_a_step_that_is_not_there_names_those_that_are(tmp_path):
    save_all(tmp_path / "checkpoints", [1, 2])
    with pytest.raises(UserError, match=r"no checkpoint of step 3 in .*, found: 1, 2"):
        restore_state(tmp_path, of(make_state(1)), 3)
    assert_same(restore_state(tmp_path, of(make_state(1)), 1), make_state(1))
    assert_same(restore_state(tmp_path, of(make_state(1)), None), make_state(2))


def test_a_target_without_sharding_is_refused(tmp_path):
    save_all(tmp_path, [1])
    bare = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), make_state(1))
    with pytest.raises(ValueError, match="has no sharding"):
        reader(tmp_path).restore(bare)


@pytest.mark.smoke
@pytest.mark.parametrize(("saved_on", "restored_on"), [(8, 1), (1, 8)])
def test_the_number_of_devices_may_change(tmp_path, saved_on, restored_on):
    with reader(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1, saved_on))
    restored = reader(tmp_path).restore(abstract(make_state(1), restored_on))
    assert restored is not None
    _, state = restored
    assert_same(state, make_state(1))
    assert state.params["cnn"]["kernel"].sharding == sharding(restored_on)


def test_a_sharded_array_has_the_checksum_of_the_whole(tmp_path):
    array = np.arange(64.0, dtype=np.float32).reshape(16, 4)
    with reader(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jax.device_put(array, sharding(8, "data"))})
    target = {"x": jax.ShapeDtypeStruct((16, 4), jnp.float32, sharding=sharding(2, "data"))}
    found = reader(tmp_path).restore_step(1, target)["x"]
    assert found.sharding.spec == PartitionSpec("data")
    np.testing.assert_array_equal(found, array)


class FailedSave:
    def result(self) -> None:
        text = "RESOURCE_EXHAUSTED: Failed writing: No space left on device [os_error_code='28']"
        raise ValueError(text)


def test_a_full_disk_is_one_line_and_costs_no_older_checkpoint(tmp_path, monkeypatch):
    from orbax.checkpoint import v1 as ocp

    save_all(tmp_path, [1])
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(ocp, "save_async", lambda *_, **__: FailedSave())
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage)
    checkpoints = Checkpoints(tmp_path, keep_latest=1, keep_best=False)
    checkpoints.save(2, {"x": jnp.zeros(500_000)})
    with pytest.raises(UserError, match=r"needs 2.0 MB .* 1.0 MB are free: make room for 1.0 MB"):
        checkpoints.wait()
    assert reader(tmp_path).steps() == [1]


def test_a_failed_save_is_raised_by_the_next(tmp_path, monkeypatch):
    from orbax.checkpoint import v1 as ocp

    monkeypatch.setattr(ocp, "save_async", lambda *_, **__: FailedSave())
    checkpoints = reader(tmp_path)
    assert checkpoints.save(1, make_state(1))
    with pytest.raises(UserError, match="checkpoint 1"):
        checkpoints.save(2, make_state(2))


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    checkpoints = reader(tmp_path / "file" / "checkpoints")
    with pytest.raises(UserError, match="cannot be written"):
        checkpoints.save(1, make_state(1))


def test_the_block_keeps_its_own_error(tmp_path, monkeypatch, capfd):
    from orbax.checkpoint import v1 as ocp

    monkeypatch.setattr(ocp, "save_async", lambda *_, **__: FailedSave())

    def block() -> None:
        with reader(tmp_path) as checkpoints:
            checkpoints.save(1, make_state(1))
            raise KeyError("mine")

    with pytest.raises(KeyError):
        block()
    assert "the disk is full" in capfd.readouterr().err
