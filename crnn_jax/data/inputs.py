"""Reads single files as a model's input, exactly as an evaluation of a split would."""

import pathlib
import sys
from collections.abc import Iterable

import numpy as np

from crnn_jax.data import decode
from crnn_jax.data.limits import TooCostlyError
from crnn_jax.data.reading import View
from crnn_jax.data.sources import Encoded
from crnn_jax.data.walk import describe, walk_files
from crnn_jax.errors import CorruptImageError, UserError


def find_inputs(paths: Iterable[str]) -> list[pathlib.Path]:
    """Returns the files named, and those with an image's extension below the folders named.

    Raises:
      UserError: no such path, or a folder without images.
    """
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            walk = walk_files(path, decode.is_image_name)
            if walk.left_out:
                print(f"'{path}': left out {describe(walk.left_out)}", file=sys.stderr)
            if not walk.files:
                raise UserError(f"expected images below '{path}', found none")
            found += [path / file.path for file in walk.files]
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"expected an image or a folder, found no '{path}'")
    return found


def read_input(path: pathlib.Path, input_shape: tuple[int, ...], view: View | None) -> np.ndarray:
    """Returns what the model sees of a file in an evaluation, uint8 of `input_shape`.

    Args:
      path: of an image.
      input_shape: (H, W, C).
      view: of the run's training (`crops.make_crop`).

    Raises:
      CorruptImageError: it is unreadable.
    """
    if view is None:
        height, width, channels = input_shape
        return decode.to_shape(decode.decode_image(path, str(path)), (height, width, channels))
    try:
        data = decode.read_file(path)
    except (OSError, TooCostlyError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorruptImageError(f"{path}: expected an image, found: {reason}") from None
    room = np.empty(input_shape, np.uint8)
    return view.evaluation().decode(Encoded(data, {}, str(path)), 0, 0, input_shape, room)
