"""Classes by name: the numbers of a run's training, given to data with other classes or order."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from crnn_jax.data.fields import IGNORE, Example
from crnn_jax.data.splits import Encoded, Source, Split, subset
from crnn_jax.errors import CorruptImageError, UserError


def with_classes(source: Source, class_names: tuple[str, ...]) -> Source:
    """Returns the source with the classes numbered as in `class_names`.

    Examples of other classes are left out; a pixel of another class is one to ignore.

    Raises:
      UserError: the source, or a split, has none of the classes.
    """
    if source.class_names == class_names:
        return source
    number_of = {name: number for number, name in enumerate(class_names)}
    number_K = np.array([number_of.get(name, -1) for name in source.class_names], np.int32)
    if (number_K < 0).all():
        raise UserError(
            f"'{source.name}': expected a class that the run was trained on, such as "
            f"'{class_names[0]}', found '{source.class_names[0]}' and others: see 'data.source', "
            "or name other data by --data_source"
        )
    splits: dict[str, Any] = {
        name: _renumbered(split, number_K, source.name)
        for name in ("train", "test", "validation")
        if (split := getattr(source, name)) is not None
    }
    return dataclasses.replace(source, class_names=class_names, **splits)


def _renumbered(split: Split, number_K: np.ndarray, where: str) -> Split:
    reader = _Renumbered(split, number_K)
    group_N = None if split.group_N is None else number_K[split.group_N]
    renumbered = dataclasses.replace(
        split,
        # Another name in the cache: what is kept there has the classes' numbers in it.
        name=f"{split.name}-{hashlib.sha256(number_K.tobytes()).hexdigest()[:8]}",
        read=reader,
        group_N=group_N,
        bulk=reader.read_many,
        encoded=reader.read_encoded if split.encoded is not None else None,
    )
    if "label" not in split.fields:
        return renumbered
    label_N = _labels(renumbered) if group_N is None else group_N
    if (label_N >= 0).all():
        return renumbered
    if not (label_N >= 0).any():
        raise UserError(
            f"'{where}': expected a class that the run was trained on in split '{split.name}', "
            "found none: see 'data.source', or name other data by --data_source"
        )
    return subset(renumbered, np.flatnonzero(label_N >= 0))


def _labels(split: Split) -> np.ndarray:
    """Returns the labels where they have to be read; 0 for what is unreadable."""
    index_N = range(len(split))
    found = split.encoded(index_N) if split.encoded is not None else split.read_many(index_N)
    values = [item.values if isinstance(item, Encoded) else item for item in found]
    return np.array([0 if isinstance(v, CorruptImageError) else int(v["label"]) for v in values])


@dataclasses.dataclass(frozen=True, eq=False)
class _Renumbered:
    split: Split
    number_K: np.ndarray

    def __call__(self, index: int) -> Example:
        return self._changed(self.split.read(index))

    def read_many(self, index_B: Sequence[int]) -> list[Example | CorruptImageError]:
        """Returns the examples."""
        return [
            found if isinstance(found, CorruptImageError) else self._changed(found)
            for found in self.split.read_many(index_B)
        ]

    def read_encoded(self, index_B: Sequence[int]) -> list[Encoded | CorruptImageError]:
        """Returns the stored images and their labels."""
        assert self.split.encoded is not None
        return [
            found
            if isinstance(found, CorruptImageError)
            else found._replace(values=self._changed(found.values))
            for found in self.split.encoded(index_B)
        ]

    def _changed(self, example: Example) -> Example:
        changed = dict(example)
        if "label" in changed:
            changed["label"] = self.number_K[changed["label"]]
        for name, kind in ((name, field.kind) for name, field in self.split.fields.items()):
            if kind == "map":
                table = np.full(256, IGNORE, np.uint8)
                table[: len(self.number_K)] = np.where(self.number_K < 0, IGNORE, self.number_K)
                changed[name] = table[changed[name]]
        return changed
