"""The folders in a directory of checkpoints, by their names.

STEP is a finished checkpoint. STEP.new is a finished one that is to replace it; where a kill has
left no STEP between the two renames, it is the checkpoint.
"""

import os
import pathlib
import re
import shutil

from crnn_jax.disk import cannot_write
from crnn_jax.errors import UserError

NEW = ".new"
TEMPORARY = ".orbax-checkpoint-tmp"  # what a save leaves behind when it is killed
DOOMED = ".deleted"
_PATTERN = re.compile(r"[*?\[\\]")
_STEP = re.compile("0|[1-9][0-9]{0,17}")  # as Orbax writes it


def check_name(workdir: pathlib.Path) -> None:
    """Checks that Orbax can save below a path.

    It takes the path for a pattern of names where it looks for what it has written, and TensorStore
    a backslash for a slash: checkpoints below such a path are damaged, or lie elsewhere.

    Raises:
      UserError: the path is not in UTF-8, or has one of the characters * ? [ and backslash.
    """
    name = str(workdir.absolute())
    if name != name.encode(errors="replace").decode():
        raise UserError(f"--workdir expects a path in UTF-8, as Orbax does, found '{name}'")
    if found := _PATTERN.search(name):
        raise UserError(
            f"--workdir expects a path without the characters * ? [ and \\, in which Orbax cannot "
            f"save, found '{found[0]}' in '{name}': choose another"
        )


def steps_in(directory: pathlib.Path) -> set[int]:
    """Returns the steps of the finished checkpoints; none where there is no directory.

    A file, a broken link and a folder of another spelling, such as 0099, are no checkpoints.

    Raises:
      UserError: the directory cannot be read.
    """
    try:
        with os.scandir(directory) as entries:
            names = [entry.name.removesuffix(NEW) for entry in entries if entry.is_dir()]
    except OSError as error:
        is_link = directory.is_symlink()
        if isinstance(error, FileNotFoundError) and not is_link:
            return set()
        reason = "a link" if is_link else "a file" if directory.is_file() else "a folder"
        raise UserError(
            f"expected a folder of checkpoints in '{directory}', found {reason} that cannot be "
            f"read ({error.strerror}): make it readable, or choose another --workdir"
        ) from error
    # Orbax writes elsewhere and renames: what is named by a number is complete.
    return {int(name) for name in names if _STEP.fullmatch(name)}


def folder_of(directory: pathlib.Path, step: int) -> pathlib.Path:
    """Returns where the finished checkpoint of `step` lies, if there is one."""
    folder = directory / str(step)
    new = new_folder_of(directory, step)
    return new if new.exists() and not folder.exists() else folder


def new_folder_of(directory: pathlib.Path, step: int) -> pathlib.Path:
    """Returns where a checkpoint that is to replace that of `step` is saved."""
    return directory / f"{step}{NEW}"


def replace_old(directory: pathlib.Path) -> None:
    """Puts each finished checkpoint that is to replace another in its place.

    Raises:
      UserError: the directory cannot be written.
    """
    for new in directory.glob(f"*{NEW}"):
        old = new.with_suffix("")
        doomed = _doom(old) if old.exists() else None
        try:
            new.rename(old)
        except OSError as error:
            raise cannot_write(new, error) from error
        if doomed is not None:
            shutil.rmtree(doomed, ignore_errors=True)


def delete(folder: pathlib.Path) -> None:
    """Deletes a checkpoint.

    Raises:
      UserError: the directory cannot be written.
    """
    shutil.rmtree(_doom(folder), ignore_errors=True)


def _doom(folder: pathlib.Path) -> pathlib.Path:
    # Renamed first, so that a kill in between leaves no half checkpoint under a number.
    doomed = folder.with_name(folder.name + DOOMED)
    try:
        return folder.rename(doomed)
    except OSError as error:
        raise cannot_write(folder, error) from error
