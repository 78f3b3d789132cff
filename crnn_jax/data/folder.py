"""Images in folders that are named after their classes."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from crnn_jax.data.decode import (
    DECODING,
    EXTENSIONS,
    decode_image,
    is_image_name,
    match_source,
)
from crnn_jax.data.fields import Example
from crnn_jax.data.sources import (
    Encoded,
    Source,
    Split,
    fingerprint,
    labelled,
    labelled_fields,
)
from crnn_jax.errors import CorruptImageError, UserError, closest

_File = tuple[str, int, int]  # path below the root with /, bytes, time of last change in ns


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns the RGB images below the folder `location`; class names are the sorted folder names.

    The layout is PATH/train/CLASS/IMAGE with PATH/test/CLASS/IMAGE (or PATH/val, where there is no
    test), or PATH/CLASS/IMAGE. In the second an image is in the test split if the sha256 of its
    path below PATH, read as a number in [0, 1), is less than test_fraction: so it never changes
    sides when others come or go, and `seed` has no influence. Hidden files and files without an
    image's extension (in any case) are passed over.

    Args:
      location: the folder: absolute, relative to the current one, or with ~.
      data_config: reads test_fraction, skip_corrupt, and image_size (0: every image must have the
        size of the first, which is checked when it is read).
      seed: not used.

    Raises:
      UserError: missing or empty folder, a class without images, a class that only the test split
        has, or an unreadable first image without skip_corrupt.
    """
    del seed
    root = pathlib.Path(location).expanduser()
    if not root.is_dir():
        raise UserError(f"config key 'data.source' expects a folder of images, found no '{root}'")
    folders = _subfolders(root)
    parts = {"train", "test", "val"} & set(folders)
    if parts:
        for name, found in (("train", "train" in parts), ("test' or 'val", len(parts) > 1)):
            if not found:
                raise UserError(
                    f"'{root}': expected '{name}' beside '{min(parts)}', found only "
                    f"{', '.join(folders)}; add it, or make config key 'data.source' name the "
                    "folder that holds the classes"
                )
        train = _scan(root, "train")
        test = _scan(root, "test" if "test" in parts else "val")
        for name in test.keys() - train.keys():
            raise UserError(
                f"'{(root / test[name][0][0]).parent}': expected a class that train has, found "
                f"'{name}'{closest(name, train)}; rename the folder, or add the class to train"
            )
    else:
        train, test = _divide(root, _scan(root, ""), data_config.test_fraction)
    class_names = tuple(train)
    first_files = [file for files in train.values() for file in files]
    image_shape = first_shape(root, first_files, data_config)
    train_split, test_split = (
        _split(name, root, part, class_names, image_shape, data_config.image_size)
        for name, part in (("train", train), ("test", test))
    )
    return Source(
        name=f"folder:{location}",
        class_names=class_names,
        train=train_split,
        test=test_split,
        fingerprint=fingerprint("folder", train, test, data_config.image_size, DECODING),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Reader:
    root: pathlib.Path
    paths: tuple[str, ...]
    labels_N: np.ndarray
    image_shape: tuple[int, int, int]
    image_size: int

    def __call__(self, index: int) -> Example:
        path = self.root / self.paths[index]
        image_HWC = match_source(decode_image(path), self.image_shape, self.image_size, str(path))
        return labelled(self.labels_N[index], image=image_HWC)

    def read_encoded(self, index_B: Sequence[int]) -> list[Encoded | CorruptImageError]:
        """Returns the files' bytes and their labels."""
        return [self._encoded(index) for index in index_B]

    def _encoded(self, index: int) -> Encoded | CorruptImageError:
        path = self.root / self.paths[index]
        try:
            return Encoded(path.read_bytes(), labelled(self.labels_N[index]), str(path))
        except OSError as error:
            reason = error.strerror or str(error)
            return CorruptImageError(f"{path}: expected a readable file, found: {reason}")


def _split(
    name: str,
    root: pathlib.Path,
    part: dict[str, list[_File]],
    class_names: tuple[str, ...],
    image_shape: tuple[int, int, int],
    image_size: int,
) -> Split:
    label_of = {class_name: label for label, class_name in enumerate(class_names)}
    examples = [(path, label_of[c]) for c, files in part.items() for path, _, _ in files]
    labels_N = np.array([label for _, label in examples], np.int32)
    # An absolute path, because a worker process may have another current folder.
    paths = tuple(path for path, _ in examples)
    reader = _Reader(root.absolute(), paths, labels_N, image_shape, image_size)
    fields = labelled_fields(image_shape)
    return Split(name, len(paths), fields, reader, labels_N, encoded=reader.read_encoded)


def _subfolders(folder: pathlib.Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _scan(root: pathlib.Path, part: str) -> dict[str, list[_File]]:
    """Returns class name -> its image files, both sorted."""
    folder = root / part
    files_of = {name: _image_files(folder / name, root) for name in _subfolders(folder)}
    if not files_of:
        raise UserError(f"'{folder}': expected a folder of images for each class, found none")
    for name, files in files_of.items():
        if not files:
            raise UserError(
                f"'{folder / name}': expected images ({' '.join(EXTENSIONS)}) of class '{name}', "
                "found none; add some or remove the folder"
            )
    return files_of


def _image_files(folder: pathlib.Path, root: pathlib.Path) -> list[_File]:
    prefix = folder.relative_to(root).as_posix()
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            is_image = is_image_name(entry.name)
            if is_image and not entry.is_dir():
                status = entry.stat()
                files.append((f"{prefix}/{entry.name}", status.st_size, status.st_mtime_ns))
    return sorted(files)


def _divide(
    root: pathlib.Path, files_of: dict[str, list[_File]], test_fraction: float
) -> tuple[dict[str, list[_File]], dict[str, list[_File]]]:
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
                f"'{root / name}': expected images to train on, found all {len(test[name])} in "
                "the test split; add some, or change config key 'data.test_fraction'"
            )
    if not any(test.values()):
        raise UserError(
            f"'{root}': expected a test split, found none of {sum(map(len, train.values()))} "
            f"images held out; raise config key 'data.test_fraction' (now {test_fraction})"
        )
    return train, test


def hash_of_path(path: str) -> float:
    """Returns a number in [0, 1) that depends on the path alone."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def first_shape(root: pathlib.Path, files: list[_File], data_config: Any) -> tuple[int, int, int]:
    """Returns (H, W, 3) of all images: from image_size, else that of the first readable one.

    Raises:
      UserError: the first is unreadable without skip_corrupt, or all are.
    """
    size = data_config.image_size
    if size:
        return size, size, 3
    for path, _, _ in files:
        try:
            height, width, _ = decode_image(root / path).shape
        except CorruptImageError:
            if not data_config.skip_corrupt:
                raise
        else:
            return height, width, 3
    raise UserError(f"'{root}': expected a readable training image, found none of {len(files)}")
