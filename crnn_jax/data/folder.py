"""Images in folders that are named after their classes."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from crnn_jax.data.class_folders import IMAGES, files_of, find_files, number_files
from crnn_jax.data.content import key_of
from crnn_jax.data.decode import decode_image, decoding, match_source, read_file, sides
from crnn_jax.data.fields import Example
from crnn_jax.data.limits import TooCostlyError
from crnn_jax.data.splits import (
    Encoded,
    Source,
    Split,
    fingerprint,
    labelled,
    labelled_fields,
)
from crnn_jax.data.walk import File
from crnn_jax.errors import CorruptImageError, UserError


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns the RGB images below the folder `location`; class names are the sorted folder names.

    The layout is PATH/train/CLASS/IMAGE with PATH/test/CLASS/IMAGE, or PATH/CLASS/IMAGE; see
    `class_folders.find_layout`. PATH/val is the validation part, unless config key
    `data.validation` holds one out of train; where there is no test, it is the test split. Images
    may lie in folders below their class's. In the second layout an image is in the test split if
    the sha256 of its path below PATH, read as a number in [0, 1), is less than test_fraction: so it
    never changes sides when others come or go, and `seed` has no influence. Hidden files are passed
    over; what else is left out is said on stderr.

    Args:
      location: the folder: absolute, relative to the current one, or with ~.
      data_config: reads test_fraction, validation, skip_corrupt, max_pixels, bit_depth, and
        image_size (0: every image must have the size of the first, which is checked when it is
        read).
      seed: not used.

    Raises:
      UserError: missing or empty folder, a class without images, a class that only the test split
        has, or, without skip_corrupt, a file or folder that cannot be read or an unreadable first
        image.
    """
    del seed
    root = pathlib.Path(location).expanduser()
    parts = find_files(root, IMAGES, data_config)
    class_names = tuple(parts["train"])
    files = {name: files_of(root, part) for name, part in parts.items()}
    image_shape = first_shape(root, files["train"].files, data_config)
    key = key_of(files.values())
    splits: dict[str, Any] = {
        name: _split(name, root, part, class_names, image_shape, data_config)
        for name, part in parts.items()
    }
    return Source(
        name=f"folder:{location}",
        class_names=class_names,
        fingerprint=fingerprint("folder", key, data_config.image_size, decoding(data_config)),
        files=files,
        **splits,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Reader:
    root: pathlib.Path
    paths: tuple[str, ...]
    labels_N: np.ndarray
    image_shape: tuple[int, int, int]
    image_size: int | tuple[int, int]
    max_pixels: int
    bit_depth: int

    def __call__(self, index: int) -> Example:
        path = self.root / self.paths[index]
        image_HWC = decode_image(path, max_pixels=self.max_pixels, bit_depth=self.bit_depth)
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
    paths, labels_N = number_files(part, class_names)
    # An absolute path, because a worker process may have another current folder.
    sizes = (image_shape, data_config.image_size, data_config.max_pixels)
    reader = _Reader(root.absolute(), paths, labels_N, *sizes, data_config.bit_depth)
    fields = labelled_fields(image_shape)
    return Split(name, len(paths), fields, reader, labels_N, encoded=reader.read_encoded)


def first_shape(root: pathlib.Path, files: list[File], data_config: Any) -> tuple[int, int, int]:
    """Returns (H, W, 3) of all images: from image_size, else that of the first readable one.

    Raises:
      UserError: the first is unreadable without skip_corrupt, or all are.
    """
    if size := sides(data_config.image_size):
        return *size, 3
    for file in files:
        try:
            height, width, _ = decode_image(
                root / file.path,
                max_pixels=data_config.max_pixels,
                bit_depth=data_config.bit_depth,
            ).shape
        except CorruptImageError:
            if not data_config.skip_corrupt:
                raise
        else:
            return height, width, 3
    raise UserError(f"'{root}': expected a readable training image, found none of {len(files)}")
