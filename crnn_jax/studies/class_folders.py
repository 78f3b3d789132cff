"""Images of some classes of a data set, as the folders that a user has."""

import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from crnn_jax.data.splits import labels_of
from crnn_jax.errors import CorruptImageError, UserError

_CHUNK = 1000  # images read at a time


def write_images(
    source: Any, classes: list[int], folder: pathlib.Path, images: int | None, seed: int
) -> None:
    """Writes the images of some classes as FOLDER/train/CLASS/N.png and FOLDER/test/CLASS/N.png.

    Nothing is done if the folder is there; it appears whole or not at all.

    Args:
      source: from `load_source`, still images with one class each.
      classes: their numbers.
      folder: to be made.
      images: number of each class in train, drawn by the seed; None: all. The test split is whole.
      seed: decides the draw.
    """
    if folder.exists():
        return
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part, split in (("train", source.train), ("test", source.test)):
        class_N = labels_of(split)
        for number in classes:
            index_N = np.flatnonzero(class_N == number)
            if part == "train" and images is not None:
                index_N = _draw(index_N, images, seed, source.class_names[number])
            target = unfinished / part / source.class_names[number]
            target.mkdir(parents=True)
            _write(split, index_N, target)
    os.replace(unfinished, folder)


def _draw(index_N: np.ndarray, images: int, seed: int, name: str) -> np.ndarray:
    if len(index_N) < images:
        raise UserError(f"--images expects at most {len(index_N)}, all of '{name}', found {images}")
    return np.sort(np.random.default_rng(seed).permutation(index_N)[:images])


def _examples(split: Any, index_N: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(index_N), _CHUNK):
        for example in split.read_many(index_N[start : start + _CHUNK].tolist()):
            if isinstance(example, CorruptImageError):
                raise example
            yield example


def _write(split: Any, index_N: np.ndarray, target: pathlib.Path) -> None:
    from PIL import Image

    for index, example in zip(index_N, _examples(split, index_N), strict=True):
        image_HWC = example[split.pixels]
        image_HWC = image_HWC if image_HWC.shape[-1] == 3 else image_HWC[..., 0]
        Image.fromarray(image_HWC).save(target / f"{index:05d}.png", compress_level=1)
