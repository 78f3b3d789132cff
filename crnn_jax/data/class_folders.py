"""Which folders are a data set's splits, which its classes, and which images each has."""

import os
import pathlib
import sys
import unicodedata
from typing import NamedTuple

from crnn_jax.data import walk
from crnn_jax.data.decode import EXTENSIONS, is_image_name
from crnn_jax.data.walk import File, LeftOut
from crnn_jax.errors import UserError

_STRAY = "not in a class's folder"
_NO_SPLIT = "neither train, test nor val"
_SPLITS = {"train": "train", "test": "test"}
_SPLITS |= dict.fromkeys(("val", "valid", "validation"), "validation")


class Layout(NamedTuple):
    """The folders of the splits, below the root; train is "" where the root holds the classes."""

    train: str
    test: str | None  # None: to be held out of train
    validation: str | None
    others: list[str]  # folders that are no split


def find_layout(root: pathlib.Path) -> Layout:
    """Returns the layout of the folder `root`.

    Splits are folders named train, test and val (also valid or validation), in any case; val is the
    test split where there is no test. Where each folder of such a name holds images itself, and
    there are others beside, they are classes as the others.

    Raises:
      UserError: there are some of the splits, but not train and one of the other two.
    """
    folders = subfolders(root)
    part_of: dict[str, str] = {}
    # "train" before "Train", then "val" before "validation"
    for name in sorted(folders, key=lambda name: (name != name.lower(), len(name), name)):
        part = _SPLITS.get(name.lower())
        if part:
            part_of.setdefault(part, name)
    others = [name for name in folders if name not in part_of.values()]
    are_classes = others and all(_holds_images(root / name) for name in part_of.values())
    if not part_of or are_classes:
        if part_of:
            names = ", ".join(f"'{name}'" for name in sorted(part_of.values()))
            print(
                f"'{root}': classes: {names} too, since there are images right in it and other "
                "classes beside",
                file=sys.stderr,
            )
        return Layout("", None, None, [])
    train, test = part_of.get("train"), part_of.get("test")
    validation = part_of.get("validation") if test else None
    test = test or part_of.get("validation")
    if train is None or test is None:
        found = train or test
        missing = "test' or 'val" if train else "train"
        raise UserError(
            f"'{root}': expected '{missing}' beside '{found}', found only {', '.join(folders)}; "
            "add it, or make config key 'data.source' name the folder that holds the classes; "
            f"if '{found}' is a class, its images must lie in it and not in folders below, "
            "with other classes beside it"
        )
    return Layout(train, test, validation, others)


def scan(root: pathlib.Path, part: str, skip_unreadable: bool) -> dict[str, list[File]]:
    """Returns class name -> its image files at any depth, both sorted; paths are below `root`.

    Class names are in Unicode's composed form (NFC): file systems store é as one character or as
    two. What is left out is said in one line on stderr.

    Args:
      root: the data set's folder.
      part: the split's folder below it, or "".
      skip_unreadable: whether what cannot be read is left out, too.

    Raises:
      UserError: no class, a class without images, or, without `skip_unreadable`, a file or folder
        that cannot be read.
    """
    folder = root / part
    found, left_out = walk.walk_files(folder, is_image_name)
    unreadable = [item for item in left_out if item.is_unreadable]
    if unreadable and not skip_unreadable:
        more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise UserError(
            f"'{folder / unreadable[0].path}': expected images that can be read, found "
            f"{unreadable[0].reason}{more}; repair or remove it, or set 'data.skip_corrupt' to True"
        )
    files_of: dict[str, list[File]] = {_composed(name): [] for name in subfolders(folder)}
    if not files_of:
        raise UserError(f"'{folder}': expected a folder of images for each class, found none")
    for file in found:
        name, slash, _ = file.path.partition("/")
        if slash:
            path = f"{part}/{file.path}" if part else file.path
            files_of[_composed(name)].append(file._replace(path=path))
        else:
            left_out.append(LeftOut(file.path, _STRAY, False))
    reasons = {_composed(item.path): item.reason for item in left_out}
    for name, files in files_of.items():
        if not files:
            reason = f" ({reasons[name]})" if name in reasons else ""
            raise UserError(
                f"'{folder / name}': expected images ({' '.join(EXTENSIONS)}) of class '{name}', "
                f"found none{reason}; add some or remove the folder"
            )
    if left_out:
        print(f"'{folder}': left out {walk.describe(left_out)}", file=sys.stderr)
    return {name: sorted(files_of[name]) for name in sorted(files_of)}


def report_others(root: pathlib.Path, layout: Layout) -> None:
    """Says in one line which folders beside the splits are not used."""
    parts = []
    if layout.validation:
        parts.append(
            f"{layout.validation} ('{layout.test}' is the test split; the validation part is "
            "held out of train by 'data.validation')"
        )
    if layout.others:
        parts.append(walk.describe((name, _NO_SPLIT) for name in layout.others))
    if parts:
        print(f"'{root}': left out {'; '.join(parts)}", file=sys.stderr)


def subfolders(folder: pathlib.Path) -> list[str]:
    """Returns the sorted names of the folders in `folder`, hidden ones left out.

    Raises:
      UserError: it cannot be read.
    """
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError as error:
        raise UserError(
            f"'{folder}': expected a folder that can be read, found: {error.strerror or error}; "
            "change its permissions, or config key 'data.source'"
        ) from None
    return sorted(name for name in names if os.path.isdir(folder / name))


def _holds_images(folder: pathlib.Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(is_image_name(entry.name) and entry.is_file() for entry in entries)
    except OSError:
        return False


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
