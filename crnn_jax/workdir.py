"""The files of a workdir that say what a run is: config.json, dataset.json, result.json."""

import json
import os
import pathlib
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.config import config_hash, config_of_flat, differences, flatten, with_absent
from crnn_jax.data import record
from crnn_jax.data.dataset import with_absolute_paths
from crnn_jax.distributed import is_first, say
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
        if not (folder / "result.json").exists():  # of a finished run nothing is written
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


def check_same_data(folder: pathlib.Path, facts: dict[str, Any], *, accept: bool) -> None:
    """Checks that the run in `folder`, if it has made a step, was trained on these data.

    Args:
      folder: of the run.
      facts: as from `Dataset.describe`.
      accept: whether contents may differ, as those of an image that was repaired.

    Raises:
      UserError: says in what the data differ.
    """
    if not any(path.name.isdecimal() for path in folder.glob("checkpoints/*")):
        return
    if not (folder / "dataset.json").exists():
        return
    trained_on = read_dataset(folder)
    if not (different := record.differences(trained_on, facts)):
        return
    same_numbers = not record.differences(trained_on, facts, contents=False)
    if accept and same_numbers:
        say(f"resuming on other data: {'; '.join(different)}", sys.stderr)
        return
    flag = ", resume with --accept_data" if same_numbers else ""
    raise UserError(
        f"workdir '{folder}' expects the data that its run was trained on, found other data in "
        f"'data.source': {'; '.join(different)}. Put those data back{flag}, or choose another "
        "--workdir"
    )


def write_dataset(folder: pathlib.Path, facts: dict[str, Any]) -> None:
    """Writes dataset.json of the run in `folder`: what it is trained on."""
    if is_first():
        write_json_atomically(folder / "dataset.json", facts)


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
    return with_absolute_paths(config)  # an older version stored them as they were typed


def read_dataset(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns dataset.json: what `record.describe` returned, without what older versions lacked."""
    facts = _read_json(workdir / "dataset.json")
    if "image_shape" in facts:  # what the shape was called while all inputs were images
        facts["input_shape"] = facts.pop("image_shape")
    # Sources name classes in this form; a run of an older version may hold the other.
    facts["class_names"] = [unicodedata.normalize("NFC", name) for name in facts["class_names"]]
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
