"""The commands as a user types them: train, kill, resume, evaluate, predict."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

TINY = [
    "--config=configs/digits.py:crnn,model.width=8,model.hidden_units=16,batch_size=64",
    "--config.duration=8 epochs",
    "--config.checkpoint.every=1 epochs",
    "--config.optim.learning_rate=0.01",
    "--config.mesh.data=1",
]


def start(module, *arguments):
    command = [sys.executable, "-m", f"crnn_jax.{module}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(module, *arguments):
    process = start(module, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture
def call(capsys):
    """Returns call(module, *arguments) -> (code, out, err): the command in this process."""

    def run_here(module, *arguments):
        capsys.readouterr()
        code = 0
        try:
            importlib.import_module(f"crnn_jax.{module}").main(list(arguments))
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return code, out, err

    return run_here


def saved_steps(workdir):
    """The finished checkpoints: one under way has a longer name."""
    return [p.name for p in workdir.glob("checkpoints/*") if p.name.isdecimal()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, and what it printed."""
    workdir = tmp_path_factory.mktemp("run")
    code, out, err = run("main", *TINY, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out


@pytest.mark.smoke
def test_train_learns_and_reports(trained):
    workdir, out = trained
    result = json.loads((workdir / "result.json").read_text())
    assert result["test"]["num_examples"] == 360
    assert result["test"]["accuracy"] > 0.6  # chance is 0.1
    assert out.rstrip().endswith(f"({result['test']['num_correct']}/360)")
    assert "images/s" in out
    assert "ETA" in out


@pytest.mark.parametrize("how", ["a process", "here"])
def test_evaluate_prints_the_same_line(trained, call, how):
    workdir, out = trained
    evaluate = call if how == "here" else run
    code, line, err = evaluate("evaluate", f"--workdir={workdir}")
    assert code == 0, err
    assert line.strip() == out.rstrip().splitlines()[-1]


def test_killed_and_resumed_equals_uninterrupted(trained, tmp_path):
    """SIGKILL after the first checkpoint; the same command goes on to the same result."""
    whole, _ = trained
    process = start("main", *TINY, f"--workdir={tmp_path}")
    deadline = time.time() + 240
    while not saved_steps(tmp_path):
        assert process.poll() is None
        assert time.time() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed_before_the_end = not (tmp_path / "result.json").exists()
    assert killed_before_the_end
    code, out, err = run("main", *TINY, f"--workdir={tmp_path}")
    assert code == 0, err
    assert "resuming at step" in out
    results = [json.loads((w / "result.json").read_text())["test"] for w in (whole, tmp_path)]
    assert results[0] == results[1]


def save_digits(folder, count=40):
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    labels = {}
    for index in range(count):
        image = np.round(digits.images[index] * 255 / 16).astype(np.uint8)
        path = folder / f"{index}.png"
        mode = ("L", "RGB", "RGBA")[index % 3]
        Image.fromarray(image).convert(mode).save(path)
        labels[str(path)] = str(digits.target[index])
    return labels


def test_predict_reads_files_and_folders(trained, call, tmp_path):
    workdir, _ = trained
    labels = save_digits(tmp_path)
    code, out, err = run("predict", f"--workdir={workdir}", str(tmp_path))
    assert code == 0, err
    rows = [line.split("\t") for line in out.splitlines()]
    assert {row[0] for row in rows} == set(labels)
    assert np.mean([labels[path] == name for path, name, _ in rows]) > 0.6
    assert all(0.1 <= float(probability) <= 1 for _, _, probability in rows)
    one = next(iter(labels))
    code, out, _ = call("predict", f"--workdir={workdir}", "--json", one)
    answer = json.loads(out)
    assert answer["path"] == one
    assert len(answer["top"]) == 5
    assert answer["class"] == next(name for path, name, _ in rows if path == one)


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("predict", ["--workdir={run}", "missing.png"], "missing.png"),
        ("predict", ["--workdir={run}", "{tmp}/broken.png"], "broken.png"),
        ("predict", ["--workdir={tmp}", "{tmp}/broken.png"], "config.json"),
        ("evaluate", ["--workdir={run}", "--split=tset"], "tset"),
        ("evaluate", ["--workdir={run}", "--split=validation"], "data.validation"),
        ("evaluate", ["--workdir={run}", "--step=7"], "no checkpoint of step 7"),
        ("main", ["--config=configs/digits.py:crnn", "--workdir={run}"], "another config"),
        (
            "main",
            ["--config=configs/digits.py:cnn", "--workdir={tmp}/w", "--config.data.source=digit"],
            "did you mean 'digits'",
        ),
        (
            "main",
            ["--config=configs/cifar10.py:cnn", "--workdir={tmp}/w", "--config.data.dir={tmp}/no"],
            "data.dir",
        ),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(trained, call, tmp_path, module, arguments, message):
    workdir, _ = trained
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}
    code, out, err = call(module, *(a.format(run=workdir, tmp=tmp_path) for a in arguments))
    assert code == 2, err
    assert len(err.splitlines()) == 1, err
    assert message in err
    assert out == ""
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*")} == before


def test_a_terminal_signal_saves_and_stops(tmp_path):
    """SIGTERM during a long run: a checkpoint of the step under way, and a code that says why."""
    arguments = [*TINY, "--config.duration=2000 epochs", "--config.checkpoint.every=2000 epochs"]
    process = start("main", *arguments, "--config.log.seconds=0.1", f"--workdir={tmp_path}")
    assert process.stdout is not None
    for line in process.stdout:
        if "images/s" in line:
            break
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "the same command resumes" in out
    assert saved_steps(tmp_path)
