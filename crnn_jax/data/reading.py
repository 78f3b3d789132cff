"""Reads several examples of a split into arrays, with blanks where one is unreadable."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Protocol, Self

import numpy as np

from crnn_jax.data.fields import Example, Field, Fields
from crnn_jax.data.splits import Encoded, Split
from crnn_jax.errors import CorruptImageError, UserError

_ALIGNMENT = 64  # bytes: a CPU "device" of JAX takes an array that starts there without a copy


@dataclasses.dataclass(frozen=True)
class Examples:
    """Decoded examples: arrays (N, ...) by field, and float32 weights, 0 where unreadable."""

    fields: dict[str, np.ndarray]
    weight_N: np.ndarray

    @property
    def num_corrupt(self) -> int:
        """How many examples were unreadable."""
        return int(np.sum(self.weight_N == 0))


class View(Protocol):
    """Which part of an example is decoded: a crop of an image, some frames of a video."""

    @property
    def kind(self) -> str:
        """As the config calls it."""
        ...

    def decode(
        self, encoded: Encoded, epoch: int, example: int, shape: tuple[int, ...], out: np.ndarray
    ) -> np.ndarray:
        """Returns the part as `shape`, a function of (epoch, example); it may be `out` itself.

        Raises:
          CorruptImageError: it is unreadable.
        """
        ...

    def evaluation(self) -> Self:
        """Returns the view of evaluation, which does not depend on epoch and example."""
        ...


def aligned(num_examples: int, field: Field) -> np.ndarray:
    """Returns an array (N, *shape), whatever it holds, that a CPU device takes without a copy."""
    dtype = np.dtype(field.dtype)
    size = num_examples * math.prod(field.shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(num_examples, *field.shape)


def unread(
    num_examples: int, fields: Fields, room: dict[str, np.ndarray] | None = None
) -> Examples:
    """Returns room for examples with weight 0: pixels and maps hold anything, other fields 0.

    Args:
      num_examples: N.
      fields: shape, dtype and kind of each array of a split.
      room: arrays (N, ...) to be taken for some of the fields.
    """
    arrays = {}
    for name, field in fields.items():
        if room and name in room:
            arrays[name] = room[name]
        elif field.kind in ("pixels", "map"):
            arrays[name] = aligned(num_examples, field)
        else:
            arrays[name] = np.zeros((num_examples, *field.shape), field.dtype)
    return Examples(arrays, np.zeros(num_examples, np.float32))


def read_into(
    examples: Examples, split: Split, indices: Iterable[int], skip_corrupt: bool, start: int = 0
) -> None:
    """Reads the examples `indices` of `split` into the rows of `examples` from `start` on.

    With `skip_corrupt`, all fields of an unreadable example are 0 and its weight stays 0.

    Raises:
      CorruptImageError: an example is unreadable, without `skip_corrupt`.
      UserError: an array has another shape than its field.
    """
    indices = [int(index) for index in indices]
    found = split.read_many(indices)
    _fill(examples, split.name, zip(indices, found, strict=True), skip_corrupt, start)


def view_into(
    examples: Examples,
    split: Split,
    epoch_B: Iterable[int],
    index_B: Iterable[int],
    view: View,
    skip_corrupt: bool,
) -> None:
    """Reads a part of each example into the first rows of `examples`, as `read_into`.

    Only that part is decoded, where the format allows. It is a function of the view, the epoch and
    the example's index.
    """
    assert split.encoded is not None, "the pipeline checks this when it is made"
    indices = [int(index) for index in index_B]
    room = examples.fields[split.pixels]
    found = _viewed(split.encoded(indices), epoch_B, indices, view, split.pixels, room)
    _fill(examples, split.name, zip(indices, found, strict=True), skip_corrupt, 0)


def _viewed(
    encoded: Iterable[Encoded | CorruptImageError],
    epoch_B: Iterable[int],
    index_B: Iterable[int],
    view: View,
    pixels: str,
    room: np.ndarray,
) -> Iterator[Example | CorruptImageError]:
    """Yields each example; its pixels are written to their row of `room`."""
    shape = room.shape[1:]
    triples = zip(encoded, epoch_B, index_B, strict=True)
    for row, (found, epoch, index) in enumerate(triples):
        if isinstance(found, CorruptImageError):
            yield found
            continue
        try:
            part = view.decode(found, int(epoch), index, shape, room[row])
            yield {pixels: part, **found.values}
        except CorruptImageError as error:
            yield error


def _fill(
    examples: Examples,
    name: str,
    results: Iterable[tuple[int, Example | CorruptImageError]],
    skip_corrupt: bool,
    start: int,
) -> None:
    for row, (index, found) in enumerate(results, start):
        if isinstance(found, CorruptImageError):
            if not skip_corrupt:
                raise with_advice(found)
            for array in examples.fields.values():
                array[row] = 0
            continue
        for field, array in examples.fields.items():
            value, expected = found[field], array.shape[1:]
            if np.shape(value) != expected:
                raise UserError(
                    f"example {index} of split '{name}' expects an {field} of shape {expected}, "
                    f"found {np.shape(value)}; set 'data.image_size' to bring all to one size"
                )
            # A field may have been written to its row already.
            if array.ndim == 1 or not np.may_share_memory(value, array[row]):
                array[row] = value
        examples.weight_N[row] = 1.0


def with_advice(error: CorruptImageError) -> CorruptImageError:
    """Returns the error with what its user can do."""
    return CorruptImageError(f"{error}; repair or remove it, or set 'data.skip_corrupt' to True")
