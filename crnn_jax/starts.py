"""starts.jsonl of a workdir: what began or resumed its training, when, and with what code."""

import json
import pathlib

from crnn_jax.disk import cannot_write
from crnn_jax.distributed import is_first
from crnn_jax.provenance import command, describe_devices, git_commit, utc_now, versions


def note_start(folder: pathlib.Path, step: int) -> None:
    """Appends a line to starts.jsonl: when, from which step, with what command, code and devices.

    Raises:
      UserError: the file cannot be written.
    """
    if not is_first():
        return
    facts = {
        "time": utc_now(),
        "step": step,
        "command": command(),
        "git_commit": git_commit(),
        "devices": describe_devices(),
        "versions": versions(),
    }
    path = folder / "starts.jsonl"
    try:
        with path.open("a") as file:
            file.write(json.dumps(facts) + "\n")
    except OSError as error:
        raise cannot_write(path, error) from error
