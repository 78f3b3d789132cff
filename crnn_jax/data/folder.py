"""Images in folders that are named after their classes."""

import dataclasses
import hashlib
import os
import pathlib
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from crnn_jax.data.class_folders import find_layout, report_others, scan
from crnn_jax.data.decode import DECODING, decode_image, match_source, read_file
from crnn_jax.data.fields import Example
from crnn_jax.data.limits import TooCostlyError
from crnn_jax.data.sources import (
    Encoded,
    Source,
    Split,
    fingerprint,
    labelled,
    labelled_fields,
)
from crnn_jax.data.walk import File
from crnn_jax.errors import CorruptImageError, UserError, closest


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns the RGB images below the folder `location`; class names are the sorted folder names.

    The layout is PATH/train/CLASS/IMAGE with PATH/test/CLASS/IMAGE (or PATH/val, where there is no
    test), or PATH/CLASS/IMAGE; see `class_folders.find_layout`. Images may lie in folders below
    their class's. In the second layout an image is in the test split if the sha256 of its path
    below PATH, read as a number in [0, 1), is less than test_fraction: so it never changes sides
    when others come or go, and `seed` has no influence. Hidden files are passed over; what else is
    left out is said on stderr.

    Args:
      location: the folder: absolute, relative to the current one, or with ~.
      data_config: reads test_fraction, skip_corrupt, and image_size (0: every image must have the
        size of the first, which is checked when it is read).
      seed: not used.

    Raises:
      UserError: missing or empty folder, a class without images, a class that only the test split
        has, or, without skip_corrupt, a file or folder that cannot be read or an unreadable first
        image.
    """
    del seed
    root = pathlib.Path(location).expanduser()
    if not os.path.isdir(root):  # pathlib's is_dir raises where a folder above may not be entered
        raise UserError(f"config key 'data.source' expects a folder of images, found no '{root}'")
    layout, skip = find_layout(root), data_config.skip_corrupt
    train = scan(root, layout.train, skip)
    if layout.test is None:
        train, test = _divide(root, train, data_config.test_fraction)
    else:
        test = scan(root, layout.test, skip)
        report_others(root, layout)
        for name in test.keys() - train.keys():
            raise UserError(
                f"'{root / layout.test / name}': expected a class that train has, found "
                f"'{name}'{closest(name, train)}; rename the folder, or add the class to train"
            )
    class_names = tuple(train)
    first_files = [file for files in train.values() for file in files]
    image_shape = _image_shape(root, first_files, data_config)
    train_split, test_split = (
        _split(name, root, part, class_names, image_shape, data_config)
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
    max_pixels: int

    def __call__(self, index: int) -> Example:
        path = self.root / self.paths[index]
        image_HWC = decode_image(path, max_pixels=self.max_pixels)
        image_HWC = match_source(image_HWC, self.image_shape, self.image_size, str(path))
        return labelled(self.labels_N[index], image=image_HWC)

    def read_encoded(self, index_B: Sequence[int]) -> list[Encoded | CorruptImageError]:
        """Returns the files' bytes and their labels."""
        return [self._encoded(index) for index in index_B]

    def _encoded(self, index: int) -> Encoded | CorruptImageError:
        path = self.root / self.paths[index]
        try:
            return Encoded(read_file(path), labelled(self.labels_N[index]), str(path))
        except (OSError, TooCostlyError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return CorruptImageError(f"{path}: expected a readable file, found: {reason}")


def _split(
    name: str,
    root: pathlib.Path,
    part: dict[str, list[File]],
    class_names: tuple[str, ...],
    image_shape: tuple[int, int, int],
    data_config: Any,
) -> Split:
    label_of = {class_name: label for label, class_name in enumerate(class_names)}
    examples = [(path, label_of[c]) for c, files in part.items() for path, _, _ in files]
    labels_N = np.array([label for _, label in examples], np.int32)
    # An absolute path, because a worker process may have another current folder.
    paths = tuple(path for path, _ in examples)
    sizes = (image_shape, data_config.image_size, data_config.max_pixels)
    reader = _Reader(root.absolute(), paths, labels_N, *sizes)
    fields = labelled_fields(image_shape)
    return Split(name, len(paths), fields, reader, labels_N, encoded=reader.read_encoded)


def _divide(
    root: pathlib.Path, files_of: dict[str, list[File]], test_fraction: float
) -> tuple[dict[str, list[File]], dict[str, list[File]]]:
    """Returns (train, test) by a hash of each path, each with the classes that it has files of."""
    train = {
        name: [f for f in files if _hash(f[0]) >= test_fraction] for name, files in files_of.items()
    }
    test = {
        name: [f for f in files if _hash(f[0]) < test_fraction] for name, files in files_of.items()
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


def _hash(path: str) -> float:
    path = unicodedata.normalize("NFC", path)  # a copy may store é as one character or as two
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _image_shape(root: pathlib.Path, files: list[File], data_config: Any) -> tuple[int, int, int]:
    size = data_config.image_size
    if size:
        return size, size, 3
    for path, _, _ in files:
        try:
            height, width, _ = decode_image(root / path, max_pixels=data_config.max_pixels).shape
        except CorruptImageError:
            if not data_config.skip_corrupt:
                raise
        else:
            return height, width, 3
    raise UserError(f"'{root}': expected a readable training image, found none of {len(files)}")
