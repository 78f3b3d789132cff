"""Damage in a checkpoint costs that one alone, and is told in one line."""

import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest

from crnn_jax import checkpoint
from crnn_jax.errors import UserError
from tests.test_checkpoint import State, abstract, assert_same, make_state, reader, save_all


def test_a_checkpoint_under_another_name_is_damaged(tmp_path, capfd):
    save_all(tmp_path, [1, 2, 3])
    shutil.rmtree(tmp_path / "3")
    shutil.copytree(tmp_path / "1", tmp_path / "3")
    capfd.readouterr()
    restored = reader(tmp_path).restore(abstract(make_state(1)))
    assert restored is not None
    step, state = restored
    assert step == 2
    assert_same(state, make_state(2))
    (line,) = capfd.readouterr().err.splitlines()
    assert "checkpoint 3" in line
    assert "it holds step 1 under the name 3" in line
    with pytest.raises(UserError, match="it holds step 1 under the name 3"):
        reader(tmp_path).restore_step(3, abstract(make_state(1)))


DAMAGE = """
import gc, jax, pathlib, sys
from crnn_jax.checkpoint import Checkpoints
directory = pathlib.Path(sys.argv[1])
state = {name: jax.numpy.arange(1000.0) for name in "abcde"}
make = lambda: Checkpoints(directory, keep_latest=9, keep_best=False)
with make() as checkpoints:
    checkpoints.save(1, state)
    checkpoints.save(2, state)
for path in (p for p in sorted((directory / "2").rglob("*")) if p.is_file()):
    content = path.read_bytes()
    half, third = content[: len(content) // 2], content[: len(content) // 3]
    for damaged in (b"", half, third.ljust(len(content), b"?")):
        path.write_bytes(damaged)
        make().restore(state)
        gc.collect()
    path.write_bytes(content)
"""


@pytest.mark.long
def test_all_that_is_said_of_damage_is_one_line(tmp_path):
    command = [sys.executable, "-c", DAMAGE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) >= 6
    assert [line for line in lines if not line.startswith("checkpoint 2 in ")] == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_is_neither_saved_nor_restored(
    tmp_path, monkeypatch, capfd, value
):
    save_all(tmp_path, [1])
    state: Any = make_state(2)
    kernel = state.params["cnn"]["kernel"].at[3, 4].set(value)
    state = state.replace(params={**state.params, "cnn": {"kernel": kernel}})
    with pytest.raises(UserError, match=r"step 2, found NaN or inf in 'params/cnn/kernel'"):
        save_state(tmp_path, 2, state)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.checksums, "not_finite", lambda _: None)
        save_state(tmp_path, 2, state)
    restored = reader(tmp_path).restore(abstract(make_state(1)))
    assert restored is not None
    assert restored[0] == 1
    assert "damaged (params/cnn/kernel is not finite)" in capfd.readouterr().err


def save_state(directory: pathlib.Path, step: int, state: State) -> None:
    with reader(directory) as checkpoints:
        checkpoints.save(step, state)
