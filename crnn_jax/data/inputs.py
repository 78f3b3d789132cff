"""Reads files and images as a model's input, exactly as an evaluation of a split would."""

import io
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from crnn_jax.data import decode
from crnn_jax.data.class_folders import IMAGES
from crnn_jax.data.frames import Frames
from crnn_jax.data.limits import MAX_PIXELS, TooCostlyError
from crnn_jax.data.reading import View
from crnn_jax.data.splits import Encoded
from crnn_jax.data.video_folder import VIDEOS
from crnn_jax.data.walk import describe, walk_files
from crnn_jax.errors import CorruptImageError, UserError


def find_inputs(paths: Iterable[str], input_shape: tuple[int, ...]) -> list[pathlib.Path]:
    """Returns the files named, and the images or videos, by extension, below the folders named.

    Args:
      paths: files and folders.
      input_shape: (H, W, C) of images, (F, H, W, C) of clips, which are searched for videos.

    Raises:
      UserError: no such path, or a folder without any.
    """
    kind = VIDEOS if _is_clip(input_shape) else IMAGES
    found: list[pathlib.Path] = []
    for name in paths:
        if not name:  # as of "$UNSET": it would mean the current folder
            raise UserError(f"expected the path of {kind.noun} or of a folder, found an empty text")
        path = pathlib.Path(name).expanduser()
        if path.is_dir():
            walk = walk_files(path, kind.is_wanted)
            left_out = f"left out {describe(walk.left_out)}" if walk.left_out else ""
            if not walk.files:
                raise UserError(
                    f"expected {kind.noun}, which this run reads, below '{path}', found none"
                    + (f"; {left_out}" if left_out else "")
                )
            if left_out:
                print(f"'{path}': {left_out}", file=sys.stderr)
            found += [path / file.path for file in walk.files]
        elif path.exists():
            found.append(path)
        else:
            one = kind.noun.removesuffix("s")
            article = "an" if one[0] in "aeiou" else "a"
            raise UserError(f"expected {article} {one} or a folder, found no '{path}'")
    return found


# PIL's modes that PNG does not have, and what holds them.
_AS_PNG = {
    "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "RGBX": "RGB",
    "RGBa": "RGBA", "La": "LA", "PA": "RGBA",
}  # fmt: skip

Input = str | os.PathLike | Image.Image | np.ndarray
Inputs = Input | Sequence[Input]


class InputBatch(NamedTuple):
    """Some inputs.

    Attributes:
      pixels: uint8 (B, *input_shape).
      paths: where each was read; None where it is no file.
    """

    pixels: np.ndarray
    paths: list[str | None]


def read_batches(
    inputs: Inputs, input_shape: tuple[int, ...], view: View | None, size: int
) -> Iterator[InputBatch]:
    """Yields the inputs in their order, at most `size` at a time; a batch is read when asked for.

    Args:
      inputs: a file, a folder, an image (PIL, or uint8 (H, W), (H, W, C)) or a list of these; or
        uint8 (B, *input_shape), which is taken as it is. For clips: videos, or such an array.
      input_shape: (H, W, C), or (F, H, W, C).
      view: how the run sees files (`views.make_view`).
      size: above 0.

    Raises:
      UserError: an input of another kind, no such file, or a folder without any.
      CorruptImageError: as `read_input`.
    """
    found = list(_each(inputs, input_shape))
    for first in range(0, len(found), size):
        part = found[first : first + size]
        pixels = [_pixels(one, input_shape, view) for one in part]
        paths = [str(one) if isinstance(one, pathlib.Path) else None for one in part]
        yield InputBatch(np.stack(pixels), paths)


def _each(inputs: Any, input_shape: tuple[int, ...]) -> Iterator[Any]:
    """Yields a path, an image or an array for each input."""
    if isinstance(inputs, (str, os.PathLike)):
        yield from find_inputs([os.fspath(inputs)], input_shape)
    elif isinstance(inputs, np.ndarray) and inputs.shape[1:] == input_shape:
        yield from inputs
    elif isinstance(inputs, (Image.Image, np.ndarray)):
        yield inputs
    elif isinstance(inputs, Sequence):
        for one in inputs:
            yield from _each(one, input_shape)
    else:
        raise UserError(
            "inputs are expected as paths, PIL images, uint8 numpy arrays or a list of these, "
            f"found {type(inputs).__name__}"
        )


def _pixels(one: Any, input_shape: tuple[int, ...], view: View | None) -> np.ndarray:
    if isinstance(one, pathlib.Path):
        return read_input(one, input_shape, view)
    if isinstance(one, np.ndarray):
        if one.dtype != np.uint8:
            raise UserError(f"an array of pixels is expected to be uint8, found {one.dtype}")
        if one.shape == input_shape:
            return one
        is_image = one.ndim == 2 or (one.ndim == 3 and one.shape[2] in (1, 3, 4))
        if _is_clip(input_shape) or not is_image or one.size == 0:
            images = "" if _is_clip(input_shape) else ", or of an image (H, W) or (H, W, 1, 3 or 4)"
            raise UserError(
                f"an array of pixels is expected of shape {input_shape}, or of several "
                f"(B, *{input_shape}){images}, found {one.shape}"
            )
        one = Image.fromarray(one[..., 0] if one.ndim == 3 and one.shape[2] == 1 else one)
    if _is_clip(input_shape):
        raise UserError("this run reads videos, found an image: name a file, or give the frames")
    return decode_input(_as_png(one), "image", input_shape, view)


def _as_png(image: Image.Image) -> bytes:
    """Returns the image as a file, which is then read as any file is."""
    file = io.BytesIO()
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode in _AS_PNG:
            image = image.convert(_AS_PNG[image.mode])
        image.save(file, "PNG", compress_level=1)
    except (OSError, ValueError) as error:
        raise UserError(
            f"an image is expected of 8 or 16 bits that can be read, found one of mode "
            f"{image.mode} and size {image.size}: {error}"
        ) from None
    return file.getvalue()


def read_input(path: pathlib.Path, input_shape: tuple[int, ...], view: View | None) -> np.ndarray:
    """Returns what the model sees of a file in an evaluation, uint8 of `input_shape`.

    Args:
      path: an image or a video.
      input_shape: (H, W, C), or (F, H, W, C).
      view: how the run sees files (`views.make_view`).

    Raises:
      CorruptImageError: it is unreadable, or a video with fewer frames than a clip.
    """
    if _is_clip(input_shape):
        room = np.empty(input_shape, np.uint8)
        return Frames("center").decode(Encoded(path, {}, str(path)), 0, 0, input_shape, room)
    return decode_input(path, str(path), input_shape, view)


def decode_input(
    data: bytes | pathlib.Path,
    name: str,
    input_shape: tuple[int, ...],
    view: View | None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Returns what the model sees of an encoded image, or of the file of a path; see `read_input`.

    Args:
      data: the file's bytes, or its path.
      name: what an error calls it.
      input_shape: (H, W, C).
      view: how the run sees files, with a limit of its own.
      max_pixels: more than these are refused before they are decoded.

    Raises:
      CorruptImageError: it is unreadable.
    """
    if view is None:
        height, width, channels = input_shape
        image_HWC = decode.decode_image(data, name, max_pixels)
        return decode.to_shape(image_HWC, (height, width, channels))
    try:
        encoded = decode.read_file(data) if isinstance(data, pathlib.Path) else data
    except (OSError, TooCostlyError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorruptImageError(f"{name}: expected an image, found: {reason}") from None
    room = np.empty(input_shape, np.uint8)
    return view.evaluation().decode(Encoded(encoded, {}, name), 0, 0, input_shape, room)


def _is_clip(input_shape: tuple[int, ...]) -> bool:
    return len(input_shape) == 4
