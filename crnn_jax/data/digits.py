"""The handwritten digits that come inside scikit-learn: 1,797 images of 8x8, no download."""

import dataclasses
import gzip
import hashlib
import importlib.util
import math
import pathlib
from typing import Any

import numpy as np

from crnn_jax.data.decode import resize_and_crop
from crnn_jax.data.fields import Example
from crnn_jax.data.splits import (
    TEST_TAG,
    Source,
    Split,
    choose,
    fingerprint,
    labelled,
    labelled_fields,
)
from crnn_jax.errors import UserError


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns the digits, gray (8, 8, 1), with a stratified random test split.

    The set is UCI's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998), its
    test part. Its values 0..16 become 0..255. As in scikit-learn's own stratified split, the test
    split has ceil(test_fraction * 1797) examples (360 at 0.2) and each class its share of them.

    Args:
      location: empty; there is one set of digits.
      data_config: reads test_fraction and image_size (0 keeps 8).
      seed: chooses the test split.

    Raises:
      UserError: test_fraction leaves one of the splits empty.
    """
    image_NHWC, labels_N = read_digits()
    is_test_N = choose_test(labels_N, data_config.test_fraction, seed)
    num_test = int(is_test_N.sum())
    data_hash = hashlib.sha256(image_NHWC.tobytes() + labels_N.tobytes()).hexdigest()
    if data_config.image_size:
        image_NHWC = np.stack(
            [resize_and_crop(image_HWC, data_config.image_size) for image_HWC in image_NHWC]
        )
    return Source(
        name="digits",
        class_names=tuple("0123456789"),
        train=_split("train", image_NHWC[~is_test_N], labels_N[~is_test_N]),
        test=_split("test", image_NHWC[is_test_N], labels_N[is_test_N]),
        fingerprint=fingerprint("digits", data_hash, image_NHWC.shape[1], num_test, seed),
    )


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns (image_NHWC, uint8 (1797, 8, 8, 1), and labels_N, int32).

    scikit-learn's own file, read without scikit-learn: its import takes a second, a quarter of the
    time to the first step.
    """
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.submodule_search_locations is not None
    folder = pathlib.Path(package.submodule_search_locations[0])
    with gzip.open(folder / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",")
    image_NHWC = np.round(rows[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    return image_NHWC, rows[:, 64].astype(np.int32)


def choose_test(labels_N: np.ndarray, test_fraction: float, seed: int) -> np.ndarray:
    """Returns a bool mask of the digits in the test split, each class with its share.

    Raises:
      UserError: test_fraction leaves one of the splits empty.
    """
    num_examples = len(labels_N)
    num_test = math.ceil(test_fraction * num_examples - 1e-9)
    if not 0 < num_test < num_examples:
        raise UserError(
            "config key 'data.test_fraction' expects a fraction that leaves both splits of the "
            f"{num_examples} digits examples, found {test_fraction}"
        )
    return choose(num_examples, num_test, seed, TEST_TAG, labels_N)


@dataclasses.dataclass(frozen=True, eq=False)
class _ArrayReader:
    image_NHWC: np.ndarray
    labels_N: np.ndarray

    def __call__(self, index: int) -> Example:
        return labelled(self.labels_N[index], image=self.image_NHWC[index])


def _split(name: str, image_NHWC: np.ndarray, labels_N: np.ndarray) -> Split:
    fields = labelled_fields(image_NHWC.shape[1:])
    return Split(name, len(labels_N), fields, _ArrayReader(image_NHWC, labels_N), labels_N)
