"""The files of a workdir that say what a run is: config.json, dataset.json, result.json."""

import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.checkpoint.folders import check_name, steps_in
from crnn_jax.config import (
    EVERY_KEY,
    config_hash,
    config_of_flat,
    differences,
    flatten,
    with_absent,
)
from crnn_jax.config.key import Key
from crnn_jax.data import record
from crnn_jax.data.dataset import with_absolute_paths
from crnn_jax.data.walk import composed
from crnn_jax.distributed import is_first, say
from crnn_jax.errors import UserError
from crnn_jax.provenance import describe_devices, git_commit, versions
from crnn_jax.validation import validate
from crnn_jax.writers import parse_json, write_json_atomically

NONFINITE = "nonfinite"  # the folder that a stop by numbers that are not finite leaves


def open_workdir(path: str) -> tuple[pathlib.Path, ConfigDict | None]:
    """Returns (the folder, made if needed, and the config of the run in it; None if there is none).

    A start that failed or was killed before it saved a step leaves a config.json that binds nobody.

    Raises:
      UserError: no folder is named, it cannot be written, it holds what is no run, or its
        checkpoints cannot be read.
    """
    if not path:  # as of --workdir=$UNSET, which would mean the current folder
        raise UserError("--workdir expects a folder, found an empty text")
    folder = pathlib.Path(path).expanduser()
    check_name(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if not (folder / "result.json").exists():  # a finished run is not written to
            raise UserError(
                f"workdir '{folder}' cannot be written ({os.strerror(error.errno or 0)}): "
                "choose another with --workdir"
            ) from error
    if (folder / "config.json").exists():
        return folder, load_config(folder) if has_run(folder) else None
    if os.path.lexists(folder / "checkpoints"):
        raise UserError(
            f"workdir '{folder}' has checkpoints but no config.json to say of which run: "
            "choose another with --workdir"
        )
    return folder, None


def has_run(folder: pathlib.Path) -> bool:
    """Returns whether a run in the folder has made a step that is kept, or is finished.

    Raises:
      UserError: its checkpoints cannot be read.
    """
    return (folder / "result.json").exists() or _has_steps(folder)


def check_same_run(
    folder: pathlib.Path, config: ConfigDict, stored: ConfigDict | None, *, extend: bool = False
) -> None:
    """Checks that the run in `folder` is that of `config`, but for keys that may change.

    Args:
      folder: where the run lies.
      config: with nothing left to be chosen.
      stored: what its config.json says; None where there is none.
      extend: whether `duration` may be longer.

    Raises:
      UserError: names every key that differs.
    """
    if stored is None:
        return
    old, new = flatten(stored), flatten(config)
    different = differences(old, new, changeable_keys(folder, old, new, extend))
    if not different:
        return
    hint = ""
    if not extend and stored.duration != config.duration:
        hint = "; with --extend 'duration' may be longer"
    raise UserError(
        f"workdir '{folder}' belongs to a run of another config: {'; '.join(different)}. "
        f"Choose another --workdir, or the same config to resume{hint}"
    )


def changeable_keys(
    folder: pathlib.Path, old: dict[str, Any], new: dict[str, Any], extend: bool
) -> list[str]:
    """Returns the keys of flat configs that may differ from those of the run in `folder`."""
    stuck = (folder / NONFINITE).exists() and not (folder / "result.json").exists()
    changes = {"always", *(["longer"] if extend else []), *(["rescue"] if stuck else [])}

    def may_change(name: str, key: Key) -> bool:
        if key.changes == "moved":
            return old[name].partition(":")[:2] == new[name].partition(":")[:2]
        if key.changes == "gone":
            return _has_moved(old[name], new[name])
        return key.changes in changes

    return [name for name, key in EVERY_KEY.items() if may_change(name, key)]


def _has_moved(old: str, new: str) -> bool:
    """Returns whether `new` may be the path of what was at `old`, now gone: it has that name."""
    is_gone = os.path.isabs(old) and not os.path.exists(old)
    return is_gone and os.path.basename(old) == os.path.basename(new)


def check_same_data(folder: pathlib.Path, facts: dict[str, Any], *, accept: bool) -> None:
    """Checks that the run in `folder`, if it has made a step, was trained on these data.

    Args:
      folder: where the run lies.
      facts: as from `Dataset.describe`.
      accept: whether contents may differ, as those of an image that was repaired.

    Raises:
      UserError: says in what the data differ.
    """
    if not _has_steps(folder):
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


def _has_steps(folder: pathlib.Path) -> bool:
    return bool(steps_in(folder / "checkpoints"))


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
    path = workdir / "dataset.json"
    facts = _read_json(path)
    if isinstance(facts, dict) and "image_shape" in facts:
        facts["input_shape"] = facts.pop("image_shape")  # its name while all inputs were images
    if not _describes_data(facts):
        raise UserError(
            f"'{path}' expects 'input_shape', 'class_names' and 'num_train', found others: bring "
            "back a copy, or delete it and run the training's command once more"
        )
    # Sources name classes in this form; a run of an older version may hold the other.
    facts["class_names"] = [composed(name) for name in facts["class_names"]]
    return facts


def _describes_data(facts: Any) -> bool:
    if not isinstance(facts, dict):
        return False
    shape, names = facts.get("input_shape"), facts.get("class_names")
    return (
        isinstance(facts.get("num_train"), int)
        and isinstance(shape, list)
        and isinstance(names, list)
        and len(shape) in (3, 4)
        and all(isinstance(side, int) and 0 < side < 2**16 for side in shape)
        and all(isinstance(name, str) for name in names)
        and facts["num_train"] > 0
        and names != []
    )


def read_result(workdir: pathlib.Path) -> Any:
    """Returns what result.json holds, of a finished run; None if there is none."""
    path = workdir / "result.json"
    return _read_json(path) if path.exists() else None


def last_seconds(workdir: pathlib.Path, step: int) -> dict[str, float]:
    """Returns the seconds per phase that metrics.jsonl has at the last line up to `step`."""
    seconds: dict[str, float] = {}
    for values in _metrics_lines(workdir):
        if values["step"] <= step:
            prefix = "seconds/"
            found = {
                key.removeprefix(prefix): float(value)
                for key, value in values.items()
                if key.startswith(prefix) and isinstance(value, (int, float))
            }
            seconds = found or seconds
    return seconds


def logged_values(workdir: pathlib.Path, name: str, step: int) -> dict[int, float]:
    """Returns {step: number} of all lines up to `step` of metrics.jsonl that have `name`."""
    return {
        values["step"]: float(values[name])
        for values in _metrics_lines(workdir)
        if values["step"] <= step and isinstance(values.get(name), (int, float))
    }


def logged_names(workdir: pathlib.Path, step: int) -> set[str]:
    """Returns the names of all numbers, such as "test/loss", that metrics.jsonl has of `step`."""
    lines = [values for values in _metrics_lines(workdir) if values["step"] == step]
    return set().union(*lines)


def _metrics_lines(workdir: pathlib.Path) -> Iterator[dict[str, Any]]:
    path = workdir / "metrics.jsonl"
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        values = parse_json(line)  # None where a kill has torn it
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


def _read_json(path: pathlib.Path) -> Any:
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"expected a run with '{path}', found no such file: check --workdir"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"'{path}' cannot be read as JSON ({reason}): check --workdir") from error
    if (value := parse_json(text)) is None:
        raise UserError(f"'{path}' cannot be read as JSON: it is damaged")
    return value
