"""The kernel that whitens patches of the training images, computed once."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from crnn_jax.data import statistics
from crnn_jax.data.splits import Split
from crnn_jax.errors import UserError

_IMAGES = 5_000  # as airbench: the covariance of their millions of patches is known well enough
_PATCHES = 2**18  # in a chunk, whose values are float64
_EPSILON = 5e-4  # added to the variances, so that a direction of next to no variance is no noise


def patch_covariance(
    split: Split, size: int, *, cache_dir: pathlib.Path, fingerprint: str, skip_corrupt: bool
) -> np.ndarray:
    """Returns covariance_DD, float64, of the size x size patches of `split` in 0..255.

    D = size * size * C, in the order of a kernel's rows, columns and channels. All images count, or
    a fixed random 5,000; unreadable ones are left out. The sums are of integers, so every
    pipeline gets the same numbers. They are stored in CACHE_DIR/statistics.

    Raises:
      CorruptImageError: an image is unreadable, without `skip_corrupt`.
      UserError: an image is smaller than a patch, none is readable, or the cache cannot be written.
    """

    def compute() -> dict[str, Any]:
        index_N = statistics.sample(split.num_examples, _IMAGES, _IMAGES)
        count: int = 0
        total_D, square_DD = np.float64(0), np.float64(0)  # exact: integers far below 2**53
        for image_BHWC in statistics.readable(
            split, index_N, cache_dir=cache_dir, fingerprint=fingerprint, skip_corrupt=skip_corrupt
        ):
            for patch_ND in _patches(image_BHWC, size):
                count += len(patch_ND)
                total_D = total_D + patch_ND.sum(axis=0)
                square_DD = square_DD + patch_ND.T @ patch_ND
        mean_D = total_D / count
        return {"covariance": (square_DD / count - np.outer(mean_D, mean_D)).tolist()}

    path = statistics.path_of(cache_dir, fingerprint, split, f"-patch{size}")
    return np.array(statistics.remembered(path, compute)["covariance"])


def _patches(image_BHWC: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields patch_ND, float64, of a few images at a time."""
    height, width = (side - size + 1 for side in image_BHWC.shape[1:3])
    if min(height, width) < 1:
        found = f"{image_BHWC.shape[1]}x{image_BHWC.shape[2]}"
        raise UserError(
            f"config key 'model.whiten_size' expects at most the image's {found}, found {size}"
        )
    images = max(1, _PATCHES // (height * width))
    for start in range(0, len(image_BHWC), images):
        part_BHWC = image_BHWC[start : start + images]
        shifted = [
            part_BHWC[:, row : row + height, column : column + width]
            for row in range(size)
            for column in range(size)
        ]
        stacked = np.stack(shifted, axis=3)
        yield stacked.reshape(-1, size * size * image_BHWC.shape[3]).astype(np.float64)


def whitening_kernel(covariance_DD: np.ndarray, std_C: np.ndarray) -> np.ndarray:
    """Returns kernel_HWIO, float32, whose 2 D outputs are whitened directions and their negations.

    Output i is the i-th eigenvector of the covariance of normalised pixels, the largest variance
    first, divided by sqrt(variance + 5e-4); output D + i is its negation. (Jordan 2024, arXiv
    2404.00498, section 3.2.) An eigenvector's sign is free: here its largest entry is positive.

    Args:
      covariance_DD: what `patch_covariance` returns.
      std_C: by which pixels are divided, float, in 0..255.
    """
    size = round((len(covariance_DD) / len(std_C)) ** 0.5)
    std_D = np.tile(std_C.astype(np.float64), size * size)
    variance_D, vector_DD = np.linalg.eigh(covariance_DD / np.outer(std_D, std_D))
    variance_D, vector_DD = variance_D[::-1], vector_DD[:, ::-1]
    largest_D = np.take_along_axis(vector_DD, np.abs(vector_DD).argmax(axis=0)[None], axis=0)
    vector_DD = vector_DD * np.sign(largest_D)
    # Rounding makes a variance of 0 a little less than that.
    scaled_DD = vector_DD / np.sqrt(np.maximum(variance_D, 0) + _EPSILON)
    kernel = np.concatenate([scaled_DD, -scaled_DD], axis=1)
    return kernel.reshape(size, size, len(std_C), -1).astype(np.float32)
