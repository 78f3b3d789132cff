import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.errors import UserError


def make_state(step: int) -> dict[str, Any]:
    kernel = np.random.default_rng(step).normal(size=(64, 32)).astype(np.float32)
    return {"step": jnp.int32(step), "params": {"cnn": {"kernel": jnp.asarray(kernel)}}}


def abstract(state: Any) -> Any:
    sharding = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


def assert_same(found: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def reader(directory: pathlib.Path) -> Checkpoints:
    return Checkpoints(directory, keep_latest=9, keep_best=False)


def save_all(directory: pathlib.Path, steps: list[int]) -> None:
    with reader(directory) as checkpoints:
        for step in steps:
            assert checkpoints.save(step, make_state(step))


def largest_file(folder: pathlib.Path) -> pathlib.Path:
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def truncate(folder: pathlib.Path) -> None:
    os.truncate(largest_file(folder), largest_file(folder).stat().st_size // 2)


def flip_two_bytes(folder: pathlib.Path) -> None:
    path = largest_file(folder)
    data = bytearray(path.read_bytes())
    for i in (len(data) // 2, len(data) // 2 + 1):
        data[i] ^= 0xFF
    path.write_bytes(data)


def lose_the_arrays(folder: pathlib.Path) -> None:
    largest_file(folder).unlink()


def change_the_metadata(folder: pathlib.Path) -> None:
    path = folder / "_CHECKPOINT_METADATA"
    text = path.read_text()
    assert "params/cnn/kernel" in text
    path.write_text(text.replace("params/cnn/kernel", "params/cnn/kennel"))


def lose_the_metadata(folder: pathlib.Path) -> None:
    (folder / "_CHECKPOINT_METADATA").unlink()


DAMAGES = [truncate, flip_two_bytes, lose_the_arrays, change_the_metadata, lose_the_metadata]


# TensorStore's tasks of a failed read may outlive their event loop.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, capfd, damage):
    save_all(tmp_path, [1, 2])
    damage(tmp_path / "2")
    with Checkpoints(tmp_path, keep_latest=9, keep_best=True) as checkpoints:
        restored = checkpoints.restore(abstract(make_state(1)))
        assert restored is not None
        step, state = restored
        assert step == 1
        assert_same(state, make_state(1))
        [line] = capfd.readouterr().err.splitlines()
        assert "checkpoint 2" in line
        assert "damaged" in line
        assert (tmp_path / "2").exists()  # reading changes nothing
        assert checkpoints.save(2, make_state(2))
        assert checkpoints.steps() == [1, 2]
        restored = checkpoints.restore(abstract(make_state(2)))
        assert restored is not None
        assert restored[0] == 2
    assert (tmp_path / "damaged-2-1").is_dir()  # nothing is lost


def test_flipped_values_are_noticed_by_their_checksum(tmp_path, monkeypatch):
    # A stand-in for a disk that returns other bytes without an error, which Orbax lets pass.
    save_all(tmp_path, [1])
    from orbax.checkpoint import v1 as ocp

    load = ocp.load

    def load_and_flip(*args: Any) -> Any:
        leaves = load(*args)
        leaves["params/cnn/kernel"] = leaves["params/cnn/kernel"].at[3, 4].multiply(1.0000002)
        return leaves

    monkeypatch.setattr(ocp, "load", load_and_flip)
    with pytest.raises(UserError, match="checksum of params/cnn/kernel differs"):
        reader(tmp_path).restore_step(1, abstract(make_state(1)))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_all_damaged_is_an_error(tmp_path, capfd):
    save_all(tmp_path, [1, 2])
    for step in "12":
        truncate(tmp_path / step)
    with pytest.raises(UserError, match=r"only damaged ones \(steps 1, 2\)"):
        reader(tmp_path).restore(abstract(make_state(1)))
    assert len(capfd.readouterr().err.splitlines()) == 2


def test_other_arrays_are_a_mistake_and_no_damage(tmp_path, capfd):
    save_all(tmp_path, [1])
    state = make_state(1)
    state["params"]["cnn"]["kernel"] = state["params"]["cnn"]["kernel"].astype(jnp.bfloat16)
    other = {**state, "ema": {"mean": jnp.zeros(3)}}
    with pytest.raises(UserError) as error:
        reader(tmp_path).restore(abstract(other))
    assert "ema/mean is absent there and float32[3] here" in str(error.value)
    assert "params/cnn/kernel is float32[64, 32] there and bfloat16[64, 32]" in str(error.value)
    assert capfd.readouterr().err == ""
    assert reader(tmp_path).steps() == [1]


def test_the_metadata_is_plain_json(tmp_path):
    with reader(tmp_path) as checkpoints:
        metrics: Any = {"validation/accuracy": np.float32(0.5)}
        checkpoints.save(3, make_state(3), metrics)
    text = (tmp_path / "3" / "_CHECKPOINT_METADATA").read_text()
    body = json.loads(text)["custom_metadata"]["body"]
    assert body["metrics"] == {"validation/accuracy": 0.5}
    assert body["leaves"]["step"] == ["int32", [], "33f170f2"]  # zlib.crc32(bytes([3, 0, 0, 0]))
