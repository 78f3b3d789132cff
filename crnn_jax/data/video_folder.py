"""Videos in folders that are named after their classes."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from crnn_jax.data.class_folders import FileKind, files_of, find_files, number_files
from crnn_jax.data.content import key_of
from crnn_jax.data.decode import sides
from crnn_jax.data.fields import Example
from crnn_jax.data.frames import DECODING, EXTENSIONS, Frames, frame_size, is_video_name
from crnn_jax.data.limits import MAX_PIXELS
from crnn_jax.data.splits import Encoded, Source, Split, fingerprint, labelled, labelled_fields
from crnn_jax.data.walk import File
from crnn_jax.errors import CorruptImageError, UserError

VIDEOS = FileKind("videos", EXTENSIONS, is_video_name)


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns RGB clips (F, H, W, 3) of the videos below the folder `location`.

    The layout, the classes and the test split are those of `folder.load`; a clip has one frame from
    each of `num_frames` equal segments, as in `frames.Frames`, where frames are also resized.

    Args:
      location: the folder: absolute, relative to the current one, or with ~.
      data_config: reads test_fraction, validation, skip_corrupt, num_frames, and image_size (0: the
        size of the first video, to which others are brought).
      seed: not used.

    Raises:
      UserError: missing or empty folder, a class without videos, a class that only the test split
        has, or an unreadable first video without skip_corrupt.
    """
    del seed
    root = pathlib.Path(location).expanduser()
    parts = find_files(root, VIDEOS, data_config)
    class_names = tuple(parts["train"])
    files = {name: files_of(root, part) for name, part in parts.items()}
    size, num_frames = sides(data_config.image_size), data_config.num_frames
    height, width = size or _first_size(root, files["train"].files, data_config)
    shape = (num_frames, height, width, 3)
    # What is read once, before training, must have every frame that training may draw.
    whole = data_config.frames == "random"
    most = data_config.max_pixels
    view = Frames("center", max_pixels=most, whole=whole)
    about = shape, whole, DECODING, *([] if most == MAX_PIXELS else [most])
    splits: dict[str, Any] = {
        name: _split(name, root, part, class_names, shape, view) for name, part in parts.items()
    }
    return Source(
        name=f"video:{location}",
        class_names=class_names,
        fingerprint=fingerprint("video", key_of(files.values()), *about),
        files=files,
        **splits,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Reader:
    root: pathlib.Path
    paths: tuple[str, ...]
    labels_N: np.ndarray
    shape: tuple[int, int, int, int]
    view: Frames

    def __call__(self, index: int) -> Example:
        encoded = self._encoded(index)
        out = np.empty(self.shape, np.uint8)
        return {"clip": self.view.decode(encoded, 0, 0, self.shape, out), **encoded.values}

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
    view: Frames,
) -> Split:
    paths, labels_N = number_files(part, class_names)
    # An absolute path, because a worker process may have another current folder.
    reader = _Reader(root.absolute(), paths, labels_N, shape, view)
    fields = labelled_fields(shape, "clip")
    return Split(name, len(paths), fields, reader, labels_N, encoded=reader.read_encoded)


def _first_size(root: pathlib.Path, files: list[File], data_config: Any) -> tuple[int, int]:
    for file in files:
        try:
            return frame_size(root / file.path, data_config.max_pixels)
        except CorruptImageError:
            if not data_config.skip_corrupt:
                raise
    raise UserError(f"'{root}': expected a readable training video, found none of {len(files)}")
