"""What is said of files; the command itself: test_end_to_end.py."""

import json
import pathlib
import types
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn_jax import predict
from crnn_jax.errors import CorruptImageError
from crnn_jax.flags import resolve_config
from crnn_jax.run import Run
from crnn_jax.tasks import make_task


def test_a_corrupt_file_does_not_stop_the_others(tiny, start_run, tmp_path):
    experiment, dataset, _, _, state = start_run(tiny("cnn"))
    run = Run(tmp_path, experiment, state, dataset.source.class_names, dataset.describe())
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for path in files:
        Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(path)
    files[1].write_bytes(files[1].read_bytes()[:40])
    results: Any = [result for _, result in predict.predict_files(run, files)]
    assert isinstance(results[1], CorruptImageError)
    assert results[0].facts == results[2].facts
    assert len(results[0].facts["top"]) == 5


def test_many_files_are_read_ahead_and_keep_their_order(monkeypatch, capsys, tmp_path):
    reading, most = [], []

    def read_input(path, shape, view):
        reading.append(path)
        if path.name == "7.png":
            raise CorruptImageError("7.png: no image")
        return np.full((8, 8, 1), int(path.stem) % 10, np.uint8)

    def apply(pixels):
        most.append((len(reading), len(pixels)))
        return {"probability": np.eye(10, dtype=np.float32)[pixels[:, 0, 0, 0]]}

    config = resolve_config("digits:rnn", {})
    task, names = make_task(config, 10), tuple("abcdefghij")
    run: Any = types.SimpleNamespace(
        config=config, task=task, class_names=names, input_shape=(8, 8, 1), apply=apply
    )
    files = [pathlib.Path(f"{index}.png") for index in range(400)] + [pathlib.Path("3.png")]
    monkeypatch.setattr(predict, "read_input", read_input)
    monkeypatch.setattr(predict, "open_named", lambda *_: run)
    monkeypatch.setattr(predict, "find_inputs", lambda *_: files)
    with pytest.raises(SystemExit) as stop:
        predict.main(["--workdir=x", "--workers=3", "folder"])
    out, err = capsys.readouterr()
    expected = [f"{i}.png\t{names[i % 10]}\t1.0000" for i in range(400) if i != 7]
    assert out.splitlines() == [*expected, "3.png\td\t1.0000"]
    rate, line = err.splitlines()
    assert rate.startswith("401 in ")
    assert rate.endswith(" images/s")
    assert (stop.value.code, line) == (2, "error: 7.png: no image")
    assert [count for _, count in most] == [63, *[64] * 5, 17]
    for index, (read, _) in enumerate(most[:-1], 1):
        assert 64 * index <= read <= 64 * index + 64 + 1  # ahead, and not by all


def test_pictures_get_names_of_their_own(tmp_path):
    picture_HWC = np.zeros((2, 3, 3), np.uint8)
    names = [
        predict._write_picture(tmp_path / "out", tmp_path / "a.jpg", picture_HWC) for _ in "ab"
    ]
    assert names == [str(tmp_path / "out/a.png"), str(tmp_path / "out/a_2.png")]
    with Image.open(names[1]) as written:
        assert written.size == (3, 2)


def test_names_with_tabs_stay_a_line(tiny, start_run, tmp_path, monkeypatch, capsys):
    experiment, _, _, _, state = start_run(tiny("cnn"))
    names = tuple(f"class\t{i}\n" for i in range(10))
    run = Run(tmp_path, experiment, state, names, {})
    monkeypatch.setattr(predict, "open_named", lambda *_: run)
    path = tmp_path / "a\tb\nc.png"
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(path)
    predict.main(["--workdir=x", str(path)])
    (line,) = capsys.readouterr().out.splitlines()
    name, class_name, probability = line.split("\t")
    assert name == f"{tmp_path}/a\\tb\\nc.png"
    assert class_name in {f"class\\t{i}\\n" for i in range(10)}
    assert 0 < float(probability) <= 1
    predict.main(["--workdir=x", "--json", str(path)])
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == str(path)
    assert found["class"] in names
