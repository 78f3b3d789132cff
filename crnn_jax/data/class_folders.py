"""Which folders are a data set's splits, which its classes, and which files each has."""

import hashlib
import os
import pathlib
import sys
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from crnn_jax.data import walk
from crnn_jax.data.decode import EXTENSIONS, is_image_name
from crnn_jax.data.walk import File, LeftOut
from crnn_jax.errors import UserError, closest

_STRAY = "not in a class's folder"
_NO_SPLIT = "neither train, test nor val"
_SPLITS = {"train": "train", "test": "test"}
_SPLITS |= dict.fromkeys(("val", "valid", "validation"), "validation")


class FileKind(NamedTuple):
    """Which files of a folder are examples: by their names, hidden ones left out."""

    noun: str  # what an error calls them
    extensions: tuple[str, ...]
    is_wanted: Callable[[str], bool]


IMAGES = FileKind("images", EXTENSIONS, is_image_name)


class Numbered(NamedTuple):
    """The files of a split: paths below the root, and int32 numbers of their classes."""

    paths: tuple[str, ...]
    class_N: np.ndarray


class Layout(NamedTuple):
    """The folders of the splits, below the root; train is "" where the root holds the classes."""

    train: str
    test: str | None  # None: to be held out of train
    validation: str | None
    others: list[str]  # folders that are no split


def find_files(
    root: pathlib.Path, kind: FileKind, *, test_fraction: float, skip_unreadable: bool
) -> tuple[dict[str, list[File]], dict[str, list[File]]]:
    """Returns (train, test): class name -> its files, both sorted; see `folder.load`.

    Raises:
      UserError: see `folder.load`.
    """
    if not os.path.isdir(root):  # pathlib's is_dir raises where a folder above may not be entered
        raise UserError(
            f"config key 'data.source' expects a folder of {kind.noun}, found no '{root}'"
        )
    layout = find_layout(root, kind)
    train = scan(root, layout.train, skip_unreadable, kind)
    if layout.test is None:
        return _divide(root, train, kind, test_fraction)
    test = scan(root, layout.test, skip_unreadable, kind)
    report_others(root, layout)
    for name in test.keys() - train.keys():
        raise UserError(
            f"'{root / layout.test / name}': expected a class that train has, found "
            f"'{name}'{closest(name, train)}; rename the folder, or add the class to train"
        )
    return train, test


def number_files(part: dict[str, list[File]], class_names: tuple[str, ...]) -> Numbered:
    """Returns the files of a split with the numbers of their classes."""
    number_of = {class_name: number for number, class_name in enumerate(class_names)}
    examples = [(path, number_of[c]) for c, files in part.items() for path, _, _ in files]
    class_N = np.array([number for _, number in examples], np.int32)
    return Numbered(tuple(path for path, _ in examples), class_N)


def find_layout(root: pathlib.Path, kind: FileKind = IMAGES) -> Layout:
    """Returns the layout of the folder `root`.

    Splits are folders named train, test and val (also valid or validation), in any case; val is the
    test split where there is no test. Where each folder of such a name holds files itself, and
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
    are_classes = others and all(_holds_files(root / name, kind) for name in part_of.values())
    if not part_of or are_classes:
        if part_of:
            names = ", ".join(f"'{name}'" for name in sorted(part_of.values()))
            print(
                f"'{root}': classes: {names} too, since there are {kind.noun} right in it and "
                "other classes beside",
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
            f"if '{found}' is a class, its {kind.noun} must lie in it and not in folders below, "
            "with other classes beside it"
        )
    return Layout(train, test, validation, others)


def scan(
    root: pathlib.Path, part: str, skip_unreadable: bool, kind: FileKind = IMAGES
) -> dict[str, list[File]]:
    """Returns class name -> its files of a kind at any depth, both sorted; paths are below `root`.

    Class names are in Unicode's composed form (NFC): file systems store é as one character or as
    two. What is left out is said in one line on stderr.

    Args:
      root: the data set's folder.
      part: the split's folder below it, or "".
      skip_unreadable: whether what cannot be read is left out, too.
      kind: of the files.

    Raises:
      UserError: no class, a class without images, or, without `skip_unreadable`, a file or folder
        that cannot be read.
    """
    folder = root / part
    found, left_out = walk.walk_files(folder, kind.is_wanted)
    unreadable = [item for item in left_out if item.is_unreadable]
    if unreadable and not skip_unreadable:
        more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise UserError(
            f"'{folder / unreadable[0].path}': expected {kind.noun} that can be read, found "
            f"{unreadable[0].reason}{more}; repair or remove it, or set 'data.skip_corrupt' to True"
        )
    files_of: dict[str, list[File]] = {_composed(name): [] for name in subfolders(folder)}
    if not files_of:
        raise UserError(f"'{folder}': expected a folder of {kind.noun} for each class, found none")
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
                f"'{folder / name}': expected {kind.noun} ({' '.join(kind.extensions)}) of class "
                f"'{name}', found none{reason}; add some or remove the folder"
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


def _holds_files(folder: pathlib.Path, kind: FileKind) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(kind.is_wanted(entry.name) and entry.is_file() for entry in entries)
    except OSError:
        return False


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _divide(
    root: pathlib.Path, files_of: dict[str, list[File]], kind: FileKind, test_fraction: float
) -> tuple[dict[str, list[File]], dict[str, list[File]]]:
    """Returns (train, test) by a hash of each path, each with the classes that it has files of."""
    train = {
        name: [f for f in files if hash_of_path(f[0]) >= test_fraction]
        for name, files in files_of.items()
    }
    test = {
        name: [f for f in files if hash_of_path(f[0]) < test_fraction]
        for name, files in files_of.items()
    }
    for name, files in train.items():
        if not files:
            raise UserError(
                f"'{root / name}': expected {kind.noun} to train on, found all {len(test[name])} "
                "in the test split; add some, or change config key 'data.test_fraction'"
            )
    if not any(test.values()):
        raise UserError(
            f"'{root}': expected a test split, found none of {sum(map(len, train.values()))} "
            f"{kind.noun} held out; raise config key 'data.test_fraction' (now {test_fraction})"
        )
    return train, test


def hash_of_path(path: str) -> float:
    """Returns a number in [0, 1) that depends on the path alone."""
    path = _composed(path)  # a copy may store é as one character or as two
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
