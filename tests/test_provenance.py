"""The commit, the versions and the devices that a result names."""

import os
import pathlib
import subprocess

import numpy as np

from crnn_jax import provenance


def commit_all(folder: pathlib.Path) -> str:
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    package = tmp_path / "code" / "crnn_jax"
    package.mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as git sets it for hooks
    assert provenance.git_commit() is None
    monkeypatch.delenv("GIT_DIR")
    (package / "other.py").write_text("")
    commit_all(tmp_path)
    (package / "provenance.py").write_text("")
    assert provenance.git_commit() is None  # a repository around it that does not hold this file
    table = tmp_path / "code" / "results" / "table.json"
    table.parent.mkdir()
    table.write_text("old")
    commit = commit_all(tmp_path / "code")
    monkeypatch.chdir("/")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    table.write_text("new")  # what a study writes does not make its next run's code another
    assert provenance.git_commit() == commit
    (package / "other.py").write_text("changed")
    assert provenance.git_commit() == f"{commit}-dirty"


def test_versions_and_devices():
    found = provenance.versions()
    assert found["numpy"] == np.__version__
    assert found["python"]
    assert found["tensorflow-datasets"]
    described = provenance.describe_devices()
    assert described.startswith("CPU: ")
    assert described.endswith(f"{os.cpu_count()} cores, 8 virtual devices")
