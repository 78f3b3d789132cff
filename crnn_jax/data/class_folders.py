"""Which folders are a data set's splits, which its classes, and which files each has."""

import hashlib
import os
import pathlib
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.data import walk
from crnn_jax.data.content import Files
from crnn_jax.data.decode import EXTENSIONS, is_image_name
from crnn_jax.data.walk import File, LeftOut, composed
from crnn_jax.errors import UserError, closest

_STRAY = "not in a class's folder"
_NO_SPLIT = "neither train, test nor val"
_SPLITS = {"train": "train", "test": "test"}
_SPLITS |= dict.fromkeys(("val", "valid", "validation"), "validation")

Parts = dict[str, dict[str, list[File]]]  # split -> class name -> its files, all sorted but splits


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

    def used(self, root: pathlib.Path, held_out: float) -> dict[str, str]:
        """Returns {"train": its folder, ...} of what is read; says in one line what is not.

        Args:
          root: the data's folder.
          held_out: the part of train that the config makes the validation part.
        """
        left_out = []
        validation = self.validation
        if validation and held_out:
            why = f"the validation part is held out of train: 'data.validation' is {held_out}"
            left_out.append(f"{validation} ({why}; 0 takes this folder)")
        elif validation and not subfolders(root / validation):
            left_out.append(f"{validation} (there are no folders in it)")
            validation = None
        if self.others:
            left_out.append(walk.describe((name, _NO_SPLIT) for name in self.others))
        if left_out:
            print(f"'{root}': left out {'; '.join(left_out)}", file=sys.stderr)
        used = {"train": self.train, "test": self.test}
        used["validation"] = None if held_out else validation
        return {part: folder for part, folder in used.items() if folder is not None}


def find_files(root: pathlib.Path, kind: FileKind, data_config: Any) -> Parts:
    """Returns the files of "train", "test" and, where there is one, "validation".

    See `folder.load`.

    Raises:
      UserError: see `folder.load`.
    """
    if not os.path.isdir(root):  # pathlib's is_dir raises where a folder above may not be entered
        raise UserError(
            f"config key 'data.source' expects a folder of {kind.noun}, found no '{root}'"
        )
    layout = find_layout(root, kind)
    folders = layout.used(root, data_config.validation)
    parts = {
        part: scan(root, folder, data_config.skip_corrupt, kind) for part, folder in folders.items()
    }
    train = parts["train"]
    if layout.test is None:
        return _divide(root, train, kind, data_config.test_fraction)
    for part, of_class in parts.items():
        for name in of_class.keys() - train.keys():
            raise UserError(
                f"'{root / folders[part] / name}': expected a class that train has, found "
                f"'{name}'{closest(name, train)}; rename the folder, or add the class to train"
            )
    return parts


def files_of(root: pathlib.Path, part: dict[str, list[File]]) -> Files:
    """Returns the files of a split in the order of its examples."""
    return Files(root.absolute(), [file for files in part.values() for file in files])


def number_files(part: dict[str, list[File]], class_names: tuple[str, ...]) -> Numbered:
    """Returns the files of a split with the numbers of their classes."""
    number_of = {class_name: number for number, class_name in enumerate(class_names)}
    examples = [(file.path, number_of[c]) for c, files in part.items() for file in files]
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
    part_of = split_folders(folders)
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


def split_folders(names: Iterable[str]) -> dict[str, str]:
    """Returns {"train": "Train", ...} of those folders that are named as a split, in any case."""
    part_of: dict[str, str] = {}
    # "train" before "Train", then "val" before "validation"
    for name in sorted(names, key=lambda name: (name != name.lower(), len(name), name)):
        if part := _SPLITS.get(name.lower()):
            part_of.setdefault(part, name)
    return part_of


def files_below(folder: pathlib.Path, kind: FileKind, skip_unreadable: bool) -> walk.Walk:
    """Returns the files of a kind at any depth, and what is left out.

    Raises:
      UserError: a file or folder cannot be read, without `skip_unreadable`.
    """
    found = walk.walk_files(folder, kind.is_wanted)
    unreadable = [item for item in found.left_out if item.is_unreadable]
    if unreadable and not skip_unreadable:
        more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise UserError(
            f"'{folder / unreadable[0].path}': expected {kind.noun} that can be read, found "
            f"{unreadable[0].reason}{more}; repair or remove it, or set 'data.skip_corrupt' to True"
        )
    return found


def scan(
    root: pathlib.Path, part: str, skip_unreadable: bool, kind: FileKind = IMAGES
) -> dict[str, list[File]]:
    """Returns class name -> its files of a kind at any depth, both sorted; paths are below `root`.

    Class names are `composed`. What is left out is said in one line on stderr.

    Args:
      root: the data set's folder.
      part: the split's folder below it, or "".
      skip_unreadable: whether what cannot be read is left out, too.
      kind: which files are looked for.

    Raises:
      UserError: no class, a class without images, or, without `skip_unreadable`, a file or folder
        that cannot be read.
    """
    folder = root / part
    found, left_out = files_below(folder, kind, skip_unreadable)
    of_class: dict[str, list[File]] = {composed(name): [] for name in subfolders(folder)}
    if not of_class:
        is_class = f"; if '{part}' is a class, rename it" if part else ""
        raise UserError(
            f"'{folder}': expected a folder of {kind.noun} for each class, found none: move those "
            f"of each class into one{is_class}"
        )
    for file in found:
        name, slash, _ = file.path.partition("/")
        if slash:
            path = f"{part}/{file.path}" if part else file.path
            of_class[composed(name)].append(file._replace(path=path))
        else:
            left_out.append(LeftOut(file.path, _STRAY, False))
    reasons = {composed(item.path): item.reason for item in left_out}
    for name, files in of_class.items():
        if not files:
            reason = f" ({reasons[name]})" if name in reasons else ""
            raise UserError(
                f"'{folder / name}': expected {kind.noun} ({' '.join(kind.extensions)}) of class "
                f"'{name}', found none{reason}; add some or remove the folder"
            )
    if left_out:
        print(f"'{folder}': left out {walk.describe(left_out)}", file=sys.stderr)
    return {name: sorted(of_class[name]) for name in sorted(of_class)}


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


def _divide(
    root: pathlib.Path, of_class: dict[str, list[File]], kind: FileKind, test_fraction: float
) -> Parts:
    """Returns "train" and "test" by a hash of each path, each with the classes that it has."""
    train = {
        name: [f for f in files if hash_of_path(f.path) >= test_fraction]
        for name, files in of_class.items()
    }
    test = {
        name: [f for f in files if hash_of_path(f.path) < test_fraction]
        for name, files in of_class.items()
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
    return {"train": train, "test": test}


def hash_of_path(path: str) -> float:
    """Returns a number in [0, 1) that depends on the path alone."""
    path = composed(path)  # a copy may be stored in the other form
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
