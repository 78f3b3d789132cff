import json
import math
import os
import pathlib
import resource

import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.errors import UserError
from crnn_jax.writers import Writers, write_json_atomically


def read_lines(workdir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def reject(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@pytest.mark.smoke
def test_each_write_is_one_line_at_once(tmp_path):
    with Writers(tmp_path) as file:
        file.write(50, {"train/loss": jnp.float32(0.25), "train/epoch": np.float64(1.5)})
        assert read_lines(tmp_path) == [{"step": 50, "train/loss": 0.25, "train/epoch": 1.5}]
        file.write(100, {"train/loss": 0.125})
    assert read_lines(tmp_path)[1] == {"step": 100, "train/loss": 0.125}


def test_numbers_that_are_not_finite_are_valid_json(tmp_path):
    with Writers(tmp_path, tracker="tensorboard") as file:
        file.write(1, {"a": math.nan, "b": jnp.float32(jnp.inf), "c": -math.inf, "d": 1})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=reject) == {
        "step": 1,
        "a": None,
        "b": None,
        "c": None,
        "d": 1,
    }


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path):
    with Writers(tmp_path) as file:
        for step in (10, 20, 30, 40):
            file.write(step, {"x": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5')  # torn by a kill
    with Writers(tmp_path, start_step=20) as file:
        file.write(30, {"x": 2})
    assert [(line["step"], line["x"]) for line in read_lines(tmp_path)] == [
        (10, 1),
        (20, 1),
        (30, 2),
    ]


def test_a_run_that_starts_again_from_nothing_drops_all(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 10}\n')
    with Writers(tmp_path):
        pass
    assert read_lines(tmp_path) == []


def test_a_last_line_without_its_end_does_not_swallow_the_next(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 10}')
    with Writers(tmp_path, start_step=10) as file:
        file.write(20, {})
    assert [line["step"] for line in read_lines(tmp_path)] == [10, 20]


def read_events(workdir):
    """Returns the events of all files in the folder."""
    from tensorboardX.proto import event_pb2

    events = []
    for path in workdir.glob("events.out.tfevents.*"):
        data, offset = path.read_bytes(), 0
        while offset < len(data):  # records: length u64, crc u32, bytes, crc u32
            length = int.from_bytes(data[offset : offset + 8], "little")
            message = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
            events.append(message.FromString(data[offset + 12 : offset + 12 + length]))
            offset += length + 16
    return events


def test_tensorboard_has_the_scalars(tmp_path):
    with Writers(tmp_path, tracker="tensorboard") as file:
        file.write(7, {"train/loss": 0.5})
        events = read_events(tmp_path)  # at once
    found = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
    assert found == [(7, "train/loss", 0.5)]


def test_no_tensorboard_files_when_off(tmp_path):
    with Writers(tmp_path) as file:
        file.write(1, {"x": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_json_file_is_whole_or_old(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json_atomically(path, {"a": np.float32(0.5), "b": [jnp.int32(3)], "c": math.nan})
    assert json.loads(path.read_text(), parse_constant=reject) == {"a": 0.5, "b": [3], "c": None}
    with path.open() as old:  # a reader keeps the file that it opened
        write_json_atomically(path, {"a": 0.5})
        assert "b" in old.read()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"result.json' cannot be written \(No space left"):
        write_json_atomically(path, {"a": 1})
    assert json.loads(path.read_text())["a"] == 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("tracker", ["none", "tensorboard"])
def test_a_disk_that_fills_ends_it_in_one_line(tmp_path, tracker):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write_until_full():
        with Writers(tmp_path, tracker=tracker) as file:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
            for step in range(1000):
                file.write(step, {"train/loss": 1.0} | {str(i): 1.0 for i in range(9)})

    try:
        with pytest.raises(UserError, match=r"cannot be written .*make room"):
            write_until_full()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_workdir_that_was_removed_ends_it_in_one_line(tmp_path, replaced):
    with Writers(tmp_path) as file:
        file.write(1, {"loss": 1.0})
        (tmp_path / "metrics.jsonl").unlink()
        if replaced:
            (tmp_path / "metrics.jsonl").touch()  # by another run
        with pytest.raises(UserError, match=r"metrics\.jsonl' as this run has begun it, found it"):
            file.write(2, {"loss": 1.0})
    assert (tmp_path / "metrics.jsonl").exists() == replaced
    assert not replaced or read_lines(tmp_path) == []


def test_tensorboard_hides_what_a_run_without_a_checkpoint_wrote(tmp_path):
    for start_step in (0, 0, 5):
        with Writers(tmp_path, tracker="tensorboard", start_step=start_step) as file:
            file.write(start_step + 1, {"loss": 1.0})
    starts = [event.step for event in read_events(tmp_path) if event.HasField("session_log")]
    assert sorted(starts) == [1, 1, 6]
