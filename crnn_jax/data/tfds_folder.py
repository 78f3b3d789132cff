"""Where a data set in TFDS's layout lies: ROOT/NAME/VERSION."""

import pathlib
import re

from crnn_jax.errors import UserError, closest

_VERSION = re.compile(r"\d+\.\d+\.\d+")


def find(location: str, root: pathlib.Path) -> pathlib.Path:
    """Returns ROOT/NAME/VERSION, after a check of each of the three."""
    from crnn_jax.data.prepare import NAMES

    name, _, version = location.partition(":")
    folder = root / name
    base = name.split("/")[0]
    command = f"`python -m crnn_jax.data.prepare {base} --data_dir={root}`"
    how = f"make it with {command}, or " if base in NAMES else ""
    how += "set config key 'data.dir' or $TFDS_DATA_DIR to the folder that holds it"
    if not folder.is_dir():
        there = [f.name for f in root.iterdir() if f.is_dir()] if root.is_dir() else []
        hint = closest(name, {*there, *NAMES} - {name})
        found = "no such folder" if root.is_dir() else f"no folder '{root}'"
        raise UserError(
            f"'tfds:{location}' expects TFDS data in '{folder}', found {found}{hint}; {how}"
        )
    versions = sorted(
        (f.name for f in folder.iterdir() if f.is_dir() and _VERSION.fullmatch(f.name)),
        key=lambda text: [int(number) for number in text.split(".")],
    )
    if not versions:
        raise UserError(
            f"'tfds:{location}' expects a folder such as 1.0.0 in '{folder}', found none; {how}"
        )
    if version and version not in versions:
        raise UserError(
            f"config key 'data.source' 'tfds:{location}' expects a version in '{folder}': "
            f"{', '.join(versions)}; found '{version}'{closest(version, versions)}"
        )
    return folder / (version or versions[-1])
