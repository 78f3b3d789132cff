"""A split in memory, with unreadable images where wanted."""

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn_jax.data import reading
from crnn_jax.data.fields import Example
from crnn_jax.data.splits import Encoded, Split, labelled, labelled_fields
from crnn_jax.errors import CorruptImageError


@dataclasses.dataclass(eq=False)
class MemoryReader:
    image_NHWC: np.ndarray
    corrupt: frozenset[int]
    count: int = 0  # how many reads there were

    def __call__(self, index: int) -> Example:
        self.count += 1
        if index in self.corrupt:
            raise CorruptImageError(f"image {index} cannot be decoded")
        return labelled(index % 10, image=self.image_NHWC[index])


@pytest.fixture
def memory_split():
    """Returns make(num_examples, shape=(6, 5, 3), corrupt=()) -> Split; label i % 10."""

    def make(num_examples, shape=(6, 5, 3), corrupt=(), name="train"):
        image_NHWC = np.random.default_rng(0).integers(0, 256, (num_examples, *shape), np.uint8)
        reader = MemoryReader(image_NHWC, frozenset(corrupt))
        return Split(name, num_examples, labelled_fields(shape), reader)

    return make


@dataclasses.dataclass(eq=False)
class EncodedReader:
    """Images of different sizes in memory, as PNG files."""

    files: list[bytes]
    corrupt: frozenset[int]

    def __call__(self, index: int) -> Example:
        return labelled(index % 10, image=np.zeros((8, 8, 3), np.uint8))

    def encoded(self, index_B):
        return [
            Encoded(
                b"broken" if i in self.corrupt else self.files[i], labelled(i % 10), f"image {i}"
            )
            for i in index_B
        ]


@pytest.fixture
def encoded_split():
    """Returns make(num_examples, corrupt=()) -> Split of PNGs, whose pixels say where they lie."""

    def make(num_examples, corrupt=()):
        random = np.random.default_rng(0)
        files = []
        for index in range(num_examples):
            height, width = random.integers(9, 40, 2)
            image_HWC = np.zeros((height, width, 3), np.uint8)
            image_HWC[:, :, 0] = np.arange(height)[:, None]
            image_HWC[:, :, 1] = np.arange(width)
            image_HWC[:, :, 2] = index
            file = io.BytesIO()
            Image.fromarray(image_HWC).save(file, "PNG")
            files.append(file.getvalue())
        reader = EncodedReader(files, frozenset(corrupt))
        fields = labelled_fields((8, 8, 3))
        encoded: Any = reader.encoded
        return Split("train", num_examples, fields, reader, encoded=encoded)

    return make


@pytest.fixture(autouse=True)
def dirty_memory(monkeypatch):
    """Room for examples that is never black by chance: what is not read must be blackened."""
    unread = reading.unread

    def dirty(*arguments):
        examples = unread(*arguments)
        for array in examples.fields.values():
            if array.dtype == np.uint8:  # pixels and maps
                array[:] = 99
        return examples

    monkeypatch.setattr(reading, "unread", dirty)
