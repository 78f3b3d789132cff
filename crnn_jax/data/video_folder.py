"""Videos in folders that are named after their classes."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from crnn_jax.data.class_folders import FileKind, find_files, number_files
from crnn_jax.data.fields import Example
from crnn_jax.data.frames import DECODING, EXTENSIONS, Frames, frame_size, is_video_name
from crnn_jax.data.sources import Encoded, Source, Split, fingerprint, labelled, labelled_fields
from crnn_jax.data.walk import File
from crnn_jax.errors import CorruptImageError, UserError

VIDEOS = FileKind("videos", EXTENSIONS, is_video_name)


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns RGB clips (F, H, W, 3) of the videos below the folder `location`.

    The layout, the classes and the test split are those of `folder.load`; a clip has one frame from
    each of `num_frames` equal segments, as in `frames.Frames`, where frames are also resized.

    Args:
      location: the folder: absolute, relative to the current one, or with ~.
      data_config: reads test_fraction, skip_corrupt, num_frames, and image_size (0: the size of the
        first video, to which others are brought).
      seed: not used.

    Raises:
      UserError: missing or empty folder, a class without videos, a class that only the test split
        has, or an unreadable first video without skip_corrupt.
    """
    del seed
    root = pathlib.Path(location).expanduser()
    train, test = find_files(
        root,
        VIDEOS,
        test_fraction=data_config.test_fraction,
        skip_unreadable=data_config.skip_corrupt,
    )
    class_names = tuple(train)
    first_files = [file for files in train.values() for file in files]
    size, num_frames = data_config.image_size, data_config.num_frames
    height, width = (size, size) if size else _first_size(root, first_files, data_config)
    shape = (num_frames, height, width, 3)
    train_split, test_split = (
        _split(name, root, part, class_names, shape)
        for name, part in (("train", train), ("test", test))
    )
    return Source(
        name=f"video:{location}",
        class_names=class_names,
        train=train_split,
        test=test_split,
        fingerprint=fingerprint("video", train, test, shape, DECODING),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Reader:
    root: pathlib.Path
    paths: tuple[str, ...]
    labels_N: np.ndarray
    shape: tuple[int, int, int, int]

    def __call__(self, index: int) -> Example:
        encoded = self._encoded(index)
        out = np.empty(self.shape, np.uint8)
        return {"clip": Frames("center").decode(encoded, 0, 0, self.shape, out), **encoded.values}

    def read_encoded(self, index_B: Sequence[int]) -> list[Encoded | CorruptImageError]:
        """Returns the files' paths and their labels."""
        return [self._encoded(index) for index in index_B]

    def _encoded(self, index: int) -> Encoded:
        path = self.root / self.paths[index]
        return Encoded(path, labelled(int(self.labels_N[index])), str(path))


def _split(
    name: str,
    root: pathlib.Path,
    part: dict[str, list[File]],
    class_names: tuple[str, ...],
    shape: tuple[int, int, int, int],
) -> Split:
    paths, labels_N = number_files(part, class_names)
    # An absolute path, because a worker process may have another current folder.
    reader = _Reader(root.absolute(), paths, labels_N, shape)
    fields = labelled_fields(shape, "clip")
    return Split(name, len(paths), fields, reader, labels_N, encoded=reader.read_encoded)


def _first_size(root: pathlib.Path, files: list[File], data_config: Any) -> tuple[int, int]:
    for path, _, _ in files:
        try:
            return frame_size(root / path)
        except CorruptImageError:
            if not data_config.skip_corrupt:
                raise
    raise UserError(f"'{root}': expected a readable training video, found none of {len(files)}")
