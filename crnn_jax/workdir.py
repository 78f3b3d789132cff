"""The files of a workdir that say what a run is: config.json, dataset.json, result.json."""

import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.config import PLACEMENT_KEYS, config_hash, default_config, flatten
from crnn_jax.distributed import is_first
from crnn_jax.errors import UserError
from crnn_jax.validation import validate
from crnn_jax.writers import describe_devices, git_commit, versions, write_json_atomically


def open_workdir(path: str, config: ConfigDict) -> tuple[pathlib.Path, ConfigDict]:
    """Returns (the folder, made if needed, and the config that its config.json now holds).

    That is `config`, whose `model.implementation`, if it is 'auto', is the one that the run in the
    folder began with.

    Raises:
      UserError: the folder cannot be written, or belongs to a run of another config
        (placement keys may differ).
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
        stored = load_config(folder)
        config = _keep_implementation(config, stored)
        _check_same_run(flatten(stored), flatten(config), folder)
    elif (folder / "checkpoints").exists():
        raise UserError(
            f"workdir '{folder}' has checkpoints but no config.json to say of which run: "
            "choose another with --workdir"
        )
    # Placement keys may have changed; the file says how the run goes on.
    write_config(folder, config)
    return folder, config


def write_config(folder: pathlib.Path, config: ConfigDict) -> None:
    """Writes config.json of the run in `folder`."""
    if is_first():
        write_json_atomically(folder / "config.json", config.to_dict())


def _keep_implementation(config: ConfigDict, stored: ConfigDict) -> ConfigDict:
    """Returns the config with what 'auto' was when the stored run began."""
    key = "implementation"
    if key not in config.model or key not in stored.model or config.model[key] != "auto":
        return config
    config = config.copy_and_resolve_references()
    config.model[key] = stored.model[key]
    return config


def _check_same_run(old: dict[str, Any], new: dict[str, Any], folder: pathlib.Path) -> None:
    different = [
        f"{key} is {old.get(key)!r} there and {new.get(key)!r} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(PLACEMENT_KEYS)
    ]
    if different:
        raise UserError(
            f"workdir '{folder}' belongs to a run of another config: {'; '.join(different)}. "
            "Choose another --workdir, or the same config to resume"
        )


def load_config(workdir: str | pathlib.Path) -> ConfigDict:
    """Returns the config of the run in `workdir`.

    Raises:
      UserError: no run there, or a config.json that cannot be read or is not valid.
    """
    content = _read_json(pathlib.Path(workdir).expanduser() / "config.json")
    if not isinstance(content.get("model"), dict):
        raise UserError(
            f"'{workdir}/config.json' has no section 'model': not a config of this project"
        )
    config = default_config(content["model"].get("name", ""))
    for key, value in content.items():
        if isinstance(value, dict) and key in config:
            config[key] = ConfigDict(
                {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
            )
        else:
            config[key] = value
    validate(config)
    return config


def stored_config(workdir: str | pathlib.Path) -> ConfigDict | None:
    """Returns the config of the run in `workdir`, None where there is none yet.

    Raises:
      UserError: a config.json that cannot be read or is not valid.
    """
    # os.path: a folder that may not be read is for `open_workdir` to complain about.
    exists = os.path.exists(pathlib.Path(workdir).expanduser() / "config.json")
    return load_config(workdir) if exists else None


def read_dataset(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns dataset.json: image_shape, class_names, num_train (after the validation part)."""
    return _read_json(workdir / "dataset.json")


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
