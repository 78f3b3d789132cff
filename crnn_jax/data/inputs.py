"""Reads single files as a model's input, exactly as an evaluation of a split would."""

import pathlib
import sys
from collections.abc import Iterable

import numpy as np

from crnn_jax.data import decode
from crnn_jax.data.class_folders import IMAGES
from crnn_jax.data.frames import Frames
from crnn_jax.data.limits import TooCostlyError
from crnn_jax.data.reading import View
from crnn_jax.data.sources import Encoded
from crnn_jax.data.video_folder import VIDEOS
from crnn_jax.data.walk import describe, walk_files
from crnn_jax.errors import CorruptImageError, UserError


def find_inputs(paths: Iterable[str], input_shape: tuple[int, ...]) -> list[pathlib.Path]:
    """Returns the files named, and the images or videos, by extension, below the folders named.

    Args:
      paths: of files and folders.
      input_shape: (H, W, C) of images, (F, H, W, C) of clips, which are searched for videos.

    Raises:
      UserError: no such path, or a folder without any.
    """
    kind = VIDEOS if _is_clip(input_shape) else IMAGES
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            walk = walk_files(path, kind.is_wanted)
            if not walk.files:
                raise UserError(
                    f"expected {kind.noun}, which this run reads, below '{path}', found none"
                )
            if walk.left_out:
                print(f"'{path}': left out {describe(walk.left_out)}", file=sys.stderr)
            found += [path / file.path for file in walk.files]
        elif path.exists():
            found.append(path)
        else:
            one = kind.noun.removesuffix("s")
            article = "an" if one[0] in "aeiou" else "a"
            raise UserError(f"expected {article} {one} or a folder, found no '{path}'")
    return found


def read_input(path: pathlib.Path, input_shape: tuple[int, ...], view: View | None) -> np.ndarray:
    """Returns what the model sees of a file in an evaluation, uint8 of `input_shape`.

    Args:
      path: of an image or a video.
      input_shape: (H, W, C), or (F, H, W, C).
      view: of the run's training (`views.make_view`).

    Raises:
      CorruptImageError: it is unreadable, or a video with fewer frames than a clip.
    """
    room = np.empty(input_shape, np.uint8)
    if _is_clip(input_shape):
        return Frames("center").decode(Encoded(path, {}, str(path)), 0, 0, input_shape, room)
    if view is None:
        height, width, channels = input_shape
        return decode.to_shape(decode.decode_image(path, str(path)), (height, width, channels))
    try:
        data = decode.read_file(path)
    except (OSError, TooCostlyError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorruptImageError(f"{path}: expected an image, found: {reason}") from None
    return view.evaluation().decode(Encoded(data, {}, str(path)), 0, 0, input_shape, room)


def _is_clip(input_shape: tuple[int, ...]) -> bool:
    return len(input_shape) == 4
