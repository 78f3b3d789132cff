"""A split in memory, with unreadable images where wanted."""

import dataclasses

import numpy as np
import pytest

from crnn_jax.data.sources import Split
from crnn_jax.errors import CorruptImageError


@dataclasses.dataclass(eq=False)
class MemoryReader:
    image_NHWC: np.ndarray
    corrupt: frozenset[int]
    count: int = 0  # how many reads there were

    def __call__(self, index: int) -> tuple[np.ndarray, int]:
        self.count += 1
        if index in self.corrupt:
            raise CorruptImageError(f"image {index} cannot be decoded")
        return self.image_NHWC[index], index % 10


@pytest.fixture
def memory_split():
    """Returns make(num_examples, shape=(6, 5, 3), corrupt=()) -> Split; label i % 10."""

    def make(num_examples, shape=(6, 5, 3), corrupt=(), name="train"):
        image_NHWC = np.random.default_rng(0).integers(0, 256, (num_examples, *shape), np.uint8)
        return Split(name, num_examples, MemoryReader(image_NHWC, frozenset(corrupt)))

    return make
