"""Damages files of a workdir; each is found, or changes nothing, and is told in one line."""

import contextlib
import io
import pathlib
import random
import shutil
from typing import Any

import jax
import numpy as np

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.errors import UserError
from crnn_jax.run import open_run
from crnn_jax.train.loop import train

JSON_FILES = ("config.json", "dataset.json", "result.json", "metrics.jsonl")
SHAPES = (b"", b"[]", b"null", b"5", b'"text"', b"{}", b"{", b"[" * 100_000, b'{"a": [1]}', b"\xff")


def damage(data: bytes, random_of: random.Random) -> bytes:
    """Returns the content of a file with one fault in it."""
    changed, kind = bytearray(data), random_of.randrange(6)
    at = random_of.randrange(max(1, len(changed)))
    if kind == 0 and changed:
        changed[at] ^= 1 << random_of.randrange(8)
    elif kind == 1:
        del changed[at:]
    elif kind == 2:
        changed[at : at + 16] = random_of.randbytes(16)
    elif kind == 3:
        del changed[at : at + random_of.randrange(1, 9)]
    elif kind == 4:
        changed[at:at] = changed[at : at + 64]
    else:
        return random_of.choice(SHAPES)
    return bytes(changed)


def damage_checkpoints(
    workdir: pathlib.Path, abstract: Any, states: dict[int, Any], count: int, seed: int
) -> dict[str, int]:
    """Returns counts of `count` faults in copies of the checkpoints of a run.

    Args:
      workdir: of the run, with the checkpoints of all `states`.
      abstract: of a state.
      states: by step, as they were saved.
      count: how many.
      seed: of the faults.

    Raises:
      AssertionError: other numbers were restored, or more was said than a line a checkpoint.
    """
    counts = {"faults": count, "the newest": 0, "an earlier one": 0, "none": 0}
    newest = max(states)
    for number in range(count):
        random_of = random.Random(seed * 1_000_003 + number)
        folder = workdir.with_name(f"damaged_{number}")
        shutil.copytree(workdir / "checkpoints", folder)
        said = break_one(folder, random_of)
        err = io.StringIO()
        try:
            with contextlib.redirect_stderr(err):
                checkpoints = Checkpoints(folder, keep_latest=9, keep_best=False)
                found = checkpoints.restore(abstract)
            assert found is not None
            step, state = found
            counts["the newest" if step == newest else "an earlier one"] += 1
            jax.tree.map(np.testing.assert_array_equal, state, states[step])
        except UserError:
            counts["none"] += 1
        except BaseException as error:
            error.add_note(f"fault {number} of seed {seed}: {said}")
            raise
        lines = err.getvalue().splitlines()
        assert len(lines) <= len(states), (said, lines)
        assert all(line.startswith("checkpoint ") for line in lines), (said, lines)
        shutil.rmtree(folder)
    return counts


def break_one(folder: pathlib.Path, random_of: random.Random) -> str:
    """Damages, deletes or exchanges a file of the checkpoints in `folder`; says which."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path, other = random_of.sample(files, 2)
    name = f"{path.relative_to(folder)}"
    kind = random_of.randrange(8)
    if kind == 0:
        path.unlink()
        return f"{name} deleted"
    if kind == 1:
        path.write_bytes(other.read_bytes())
        return f"{name} replaced by {other.relative_to(folder)}"
    if kind == 2:
        path.unlink()
        path.mkdir()
        return f"{name} made a folder"
    path.write_bytes(damage(path.read_bytes(), random_of))
    return f"{name} damaged"


def damage_records(
    workdir: pathlib.Path, config: Any, count: int, seed: int, *, kinds: tuple[str, ...]
) -> dict[str, int]:
    """Returns counts of `count` faults in copies of a run's records, which are then used.

    Args:
      workdir: of the run, finished or stopped.
      config: of the run.
      count: how many.
      seed: of the faults.
      kinds: the files that are damaged.

    Raises:
      Exception: anything but a UserError.
    """
    counts = {"faults": count, "refused": 0, "used": 0}
    for number in range(count):
        random_of = random.Random(seed * 1_000_003 + number)
        folder = workdir.with_name(f"record_{number}")
        shutil.copytree(workdir, folder)
        path = folder / random_of.choice(kinds)
        path.write_bytes(damage(path.read_bytes(), random_of))
        content = path.read_bytes()[:300]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                train(config, str(folder))
                open_run(folder)
            counts["used"] += 1
        except UserError:
            counts["refused"] += 1
        except BaseException as error:
            error.add_note(f"fault {number} of seed {seed}: {path.name} is {content!r}")
            raise
        shutil.rmtree(folder)
    return counts
