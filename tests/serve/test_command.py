"""The command: mistakes, a port in use, and its end."""

import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from crnn_jax.serve import __main__ as command


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model=digit_crnn", "--port=0"], "did you mean 'digits_crnn'"),
        (["--model=digits_crnn", "--port=70000"], "--port expects 0 to 65535, found 70000"),
        (["--model=digits_crnn", "--host=no.such.invalid"], "--host expects an address"),
        (["--model=digits_crnn", "--max_mb=nan"], "more than 0, at most 100000, found nan"),
        (["--model=digits_crnn", "--max_mb=inf"], "--max_mb expects more than 0"),
        (["--model=digits_crnn", "--max_requests=0"], "--max_requests expects more than 0"),
        (["--workdir=none", "--port=0"], "expected a run with 'none/config.json'"),
        ([], "one of the arguments --workdir --file --model is required"),
    ],
)
def test_a_mistake_is_one_line(flags, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(flags)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_a_port_in_use_is_one_line_at_once(monkeypatch, capsys):
    monkeypatch.setattr(command, "open_named", None)  # is not called: nothing is loaded first
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit) as stop:
            command.main(["--model=digits_crnn", f"--port={port}"])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"expected to listen on 127.0.0.1:{port}, found: Address already in use" in line


def test_missing_packages_are_named(monkeypatch, capsys):
    find = command.importlib.util.find_spec
    hidden = lambda name: None if name == "uvicorn" else find(name)  # noqa: E731
    monkeypatch.setattr(command.importlib.util, "find_spec", hidden)
    with pytest.raises(SystemExit):
        command.main(["--model=digits_crnn"])
    expected = 'expects uvicorn, found no such package: pip install -e ".[serve]"'
    assert expected in capsys.readouterr().err


def test_a_collection_of_garbage_leaves_out_what_is_loaded(monkeypatch):
    counts = []
    monkeypatch.setattr(command, "run", lambda *_: counts.append(gc.get_freeze_count()))
    monkeypatch.setattr(command, "warm_up", lambda predictor: None)
    before = gc.get_freeze_count()
    try:
        command.main(["--model=digits_crnn", "--port=0"])
    finally:
        gc.unfreeze()
    (during,) = counts
    assert during > before + 100_000


@pytest.mark.slow
def test_a_server_answers_and_ends_politely(tmp_path):
    env = {**os.environ, "XLA_FLAGS": "", "XDG_CACHE_HOME": str(tmp_path)}
    server = subprocess.Popen(
        [sys.executable, "-m", "crnn_jax.serve", "--model=digits_crnn", "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("serving digits_crnn on http://127.0.0.1:")
        address = line.split()[3]
        file = io.BytesIO()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "PNG")
        request = urllib.request.Request(
            f"{address}/predict", file.getvalue(), {"Content-Type": "image/png"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            (found,) = json.load(answer)["predictions"]
        assert found["class"] in set("0123456789")
        assert len(found["top"]) == 5
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        assert server.stderr is not None
        assert server.stderr.read() == ""
    finally:
        server.kill()
        server.communicate()
