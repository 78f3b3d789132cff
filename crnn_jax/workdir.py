"""The files of a workdir that say what a run is: config.json, dataset.json, result.json."""

import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.config import config_hash, config_of_flat, differences, flatten, with_absent
from crnn_jax.distributed import is_first
from crnn_jax.errors import UserError
from crnn_jax.provenance import describe_devices, git_commit, versions
from crnn_jax.validation import validate
from crnn_jax.writers import write_json_atomically


def open_workdir(path: str) -> tuple[pathlib.Path, ConfigDict | None]:
    """Returns (the folder, made if needed, and the config of the run in it; None if there is none).

    Raises:
      UserError: the folder cannot be written, or holds what is no run.
    """
    folder = pathlib.Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"workdir '{folder}' cannot be written ({os.strerror(error.errno or 0)}): "
            "choose another with --workdir"
        ) from error
    if (folder / "config.json").exists():
        return folder, load_config(folder)
    if (folder / "checkpoints").exists():
        raise UserError(
            f"workdir '{folder}' has checkpoints but no config.json to say of which run: "
            "choose another with --workdir"
        )
    return folder, None


def check_same_run(folder: pathlib.Path, config: ConfigDict, stored: ConfigDict | None) -> None:
    """Checks that the run in `folder` is that of `config`; placement keys may differ.

    Args:
      folder: of the run.
      config: with nothing left to be chosen.
      stored: what its config.json says; None where there is none.

    Raises:
      UserError: names every key that differs.
    """
    different = [] if stored is None else differences(flatten(stored), flatten(config))
    if different:
        raise UserError(
            f"workdir '{folder}' belongs to a run of another config: {'; '.join(different)}. "
            "Choose another --workdir, or the same config to resume"
        )


def write_config(folder: pathlib.Path, config: ConfigDict) -> None:
    """Writes config.json of the run in `folder`: how it goes on from here."""
    if is_first():
        write_json_atomically(folder / "config.json", config.to_dict())


def load_config(workdir: str | pathlib.Path) -> ConfigDict:
    """Returns the config of the run in `workdir`.

    A run of an older version lacks newer keys; they are what they were before they existed.

    Raises:
      UserError: no run there, or a config.json that cannot be read or is not valid.
    """
    path = pathlib.Path(workdir).expanduser() / "config.json"
    content = _read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise UserError(f"'{path}' has no section 'model': not a config of this project")
    flat: dict[str, Any] = {}
    for name, value in content.items():
        is_section = isinstance(value, dict)
        flat |= {f"{name}.{k}": leaf for k, leaf in value.items()} if is_section else {name: value}
    try:
        config = config_of_flat(with_absent(flat))
        validate(config)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
    return config


def read_dataset(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns dataset.json: input_shape, class_names, num_train (after the validation part)."""
    facts = _read_json(workdir / "dataset.json")
    if "image_shape" in facts:  # what the shape was called while all inputs were images
        facts["input_shape"] = facts.pop("image_shape")
    return facts


def read_result(workdir: pathlib.Path) -> dict[str, Any] | None:
    """Returns result.json of a finished run, or None."""
    return _read_json(workdir / "result.json") if (workdir / "result.json").exists() else None


def last_seconds(workdir: pathlib.Path, step: int) -> dict[str, float]:
    """Returns the seconds per phase that metrics.jsonl has at the last line up to `step`."""
    seconds: dict[str, float] = {}
    for values in _metrics_lines(workdir):
        if values["step"] <= step:
            prefix = "seconds/"
            found = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
            seconds = found or seconds
    return seconds


def logged_names(workdir: pathlib.Path, step: int) -> set[str]:
    """Returns the names of all numbers, such as "test/loss", that metrics.jsonl has of `step`."""
    lines = [values for values in _metrics_lines(workdir) if values["step"] == step]
    return set().union(*lines)


def _metrics_lines(workdir: pathlib.Path) -> Iterator[dict[str, Any]]:
    path = workdir / "metrics.jsonl"
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            values = json.loads(line)
        except ValueError:  # torn by a kill
            continue
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            yield values


def describe_run(config: ConfigDict) -> dict[str, Any]:
    """Returns what a number needs to be trusted: config, commit, versions, devices and seed."""
    return {
        "config_hash": config_hash(config),
        "seed": config.seed,
        "git_commit": git_commit(),
        "versions": versions(),
        "devices": describe_devices(),
    }


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"expected a run with '{path}', found no such file: check --workdir"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read as JSON ({error})") from error
