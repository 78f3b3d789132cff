"""A workdir has one run; a lock ends with its process, and its removal confuses nobody."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from crnn_jax import file_lock
from crnn_jax.errors import UserError
from crnn_jax.train.loop import train

HOLD = """
import sys
from crnn_jax.file_lock import only_run
with only_run(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path, tiny):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        before = sorted(tmp_path.iterdir())
        with pytest.raises(UserError, match=rf"found process {first.pid} on .*--workdir"):
            train(tiny("rnn"), str(tmp_path))
        assert sorted(tmp_path.iterdir()) == before
        first.send_signal(signal.SIGKILL)
    with file_lock.only_run(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_on_a_file_that_was_removed_does_not_count(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    flock = file_lock.fcntl.flock

    def removed_meanwhile(file, operation):
        flock(file, operation)
        monkeypatch.undo()
        path.unlink()

    monkeypatch.setattr(file_lock.fcntl, "flock", removed_meanwhile)
    file = file_lock.take(path, wait=False)
    assert path.exists()
    with pytest.raises(BlockingIOError):
        file_lock.take(path, wait=False)
    file_lock.release(path, file)


def test_the_lock_of_another_stays(tmp_path):
    path = tmp_path / "lock"
    first = file_lock.take(path, wait=False)
    path.unlink()  # with its workdir
    second = file_lock.take(path, wait=False)
    file_lock.release(path, first)
    with pytest.raises(BlockingIOError):
        file_lock.take(path, wait=False)
    file_lock.release(path, second)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_holds_nobody_up(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(file_lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_lock.fcntl, "flock", unsupported)
    entered = []
    for _ in range(2):  # neither keeps the other out, as nothing can be known
        with file_lock.only_run(tmp_path), file_lock.only_run(tmp_path):
            entered.append(True)
    assert entered == [True, True]


def test_what_is_no_folder_is_for_others_to_tell(tmp_path):
    pathlib.Path(tmp_path / "file").write_text("")
    entered = []
    with file_lock.only_run(tmp_path / "file" / "workdir"):
        entered.append(True)
    assert entered == [True]
    assert (tmp_path / "file").read_text() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
