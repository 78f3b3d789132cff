"""Mean and standard deviation of the training split's pixels, as in the paper, computed once."""

import json
import os
import pathlib
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from crnn_jax.data import cache, reading
from crnn_jax.data.splits import Split
from crnn_jax.disk import note_use
from crnn_jax.errors import UserError

_EXACT_EXAMPLES = 100_000  # above this number, statistics come from a sample
_SAMPLE = 20_000
_CHUNK = 1024  # images read or summed at a time
_DECODED_BYTES = 2 * 1024**3  # up to this size the decoded split is cached, and read from there


def mean_and_std(
    split: Split, *, cache_dir: pathlib.Path, fingerprint: str, skip_corrupt: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (mean_C, std_C) over all pixels of `split`, float32 in 0..255.

    The standard deviation is the population's; a constant channel has 1, so that dividing by it
    is safe. Exact up to 100,000 examples; beyond, over a fixed random 20,000. Unreadable images are
    left out. The sums are of integers, so every pipeline gets the same numbers. They are stored in
    CACHE_DIR/statistics.

    Raises:
      CorruptImageError: an image is unreadable, without `skip_corrupt`.
      UserError: no image is readable, or the cache cannot be written.
    """

    def compute() -> dict[str, Any]:
        index_N = sample(split.num_examples, _EXACT_EXAMPLES, _SAMPLE)
        chunks = readable(
            split, index_N, cache_dir=cache_dir, fingerprint=fingerprint, skip_corrupt=skip_corrupt
        )
        return _mean_and_std(chunks)

    stored = remembered(path_of(cache_dir, fingerprint, split), compute)
    return np.array(stored["mean"], np.float32), np.array(stored["std"], np.float32)


def path_of(
    cache_dir: pathlib.Path, fingerprint: str, split: Split, suffix: str = ""
) -> pathlib.Path:
    """Returns where a statistic of `split` is stored."""
    return cache_dir / "statistics" / f"{cache.entry_name(fingerprint, split)}{suffix}.json"


def remembered(path: pathlib.Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns what `path` holds, else `compute()`, which is then stored there.

    Its checksum is over the file's name too: what is damaged, or another's, is computed again.

    Raises:
      UserError: the folder cannot be written.
    """
    try:
        content = json.loads(path.read_text())
        if content["crc32"] == _checksum(path, content["stored"]):
            note_use(path)
            return content["stored"]
        raise ValueError("its checksum differs")
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        print(f"'{path}' is damaged or old: computing it again", file=sys.stderr)
    cache.make_writable(path.parent)
    stored = compute()
    _save(path, {"stored": stored, "crc32": _checksum(path, stored)})
    return stored


def _checksum(path: pathlib.Path, stored: Any) -> int:
    return zlib.crc32(json.dumps([path.name, stored], sort_keys=True).encode())


def _save(path: pathlib.Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        temporary.write_text(json.dumps(content))
        os.replace(temporary, path)
    except OSError as error:
        raise cache.unwritable(path.parent, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def readable(
    split: Split,
    index_N: np.ndarray,
    *,
    cache_dir: pathlib.Path,
    fingerprint: str,
    skip_corrupt: bool,
) -> Iterator[np.ndarray]:
    """Yields image_BHWC uint8, chunk by chunk: the readable images among those of `index_N`.

    The frames of a clip are images.

    Raises:
      CorruptImageError: an image is unreadable, without `skip_corrupt`.
      UserError: with it, all are.
    """
    name, found = split.pixels, 0
    shape = split.fields[name].shape
    num_bytes = split.num_examples * int(np.prod(shape))
    if split.num_examples <= _EXACT_EXAMPLES and num_bytes <= _DECODED_BYTES:
        # The resident pipeline needs the same arrays: decode once, whoever comes first.
        whole = cache.decoded(
            split, cache_dir=cache_dir, fingerprint=fingerprint, skip_corrupt=skip_corrupt
        )
    else:
        whole = None
    for start in range(0, len(index_N), _CHUNK):
        index_B = index_N[start : start + _CHUNK]
        if whole is None:
            part = reading.unread(len(index_B), split.fields)
            reading.read_into(part, split, index_B, skip_corrupt)
            pixels, weight_B = part.fields[name], part.weight_N
        else:
            pixels, weight_B = whole.fields[name][index_B], whole.weight_N[index_B]
        pixels = pixels[weight_B > 0]
        found += len(pixels)
        yield pixels.reshape(-1, *shape[-3:])
    if not found:
        raise UserError(
            f"split '{split.name}' expects readable images, found {len(index_N)} unreadable; "
            "check 'data.source'"
        )


def _mean_and_std(chunks: Iterator[np.ndarray]) -> dict[str, Any]:
    count, totals, squares = 0, [], []
    for image_BHWC in chunks:
        pixel_BHWC = image_BHWC.astype(np.uint64)
        count += pixel_BHWC[..., 0].size
        totals.append(pixel_BHWC.sum((0, 1, 2)).tolist())
        squares.append(np.square(pixel_BHWC).sum((0, 1, 2)).tolist())
    # Python's integers are exact: the variance of a constant channel is exactly 0.
    total_C = [sum(of_channel) for of_channel in zip(*totals, strict=True)]
    square_C = [sum(of_channel) for of_channel in zip(*squares, strict=True)]
    variance_C = [
        (count * q - s * s) / (count * count) for s, q in zip(total_C, square_C, strict=True)
    ]
    return {
        "mean": [s / count for s in total_C],
        "std": [float(np.sqrt(v)) if v > 0 else 1.0 for v in variance_C],
    }


def sample(num_examples: int, most: int, size: int) -> np.ndarray:
    """Returns the indices of all, or of a fixed random `size` where there are more than `most`.

    Sorted, for reading in order.
    """
    if num_examples <= most:
        return np.arange(num_examples)
    return np.sort(np.random.default_rng(0).choice(num_examples, size, replace=False))
