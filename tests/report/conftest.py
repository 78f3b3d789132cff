"""A benchmark's file, line by line."""

import json

import pytest


@pytest.fixture
def append():
    def append_line(folder, name, **record):
        path = folder / "benchmarks" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        where = {"time": "2026-01-02T03:04:05Z", "git_commit": "0123456789", "devices": "2 cores"}
        with path.open("a") as file:
            file.write(json.dumps({**where, "versions": {"jax": "9.9"}, **record}) + "\n")

    return append_line
