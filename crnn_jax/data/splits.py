"""What a source of examples offers: splits of named fields, and parts of them held out."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.data.content import Files
from crnn_jax.data.fields import Example, Field, Fields, pixels_of
from crnn_jax.errors import CorruptImageError, UserError

_VALIDATION_TAG = 1  # keeps the random numbers of one use of the seed apart from another's
TEST_TAG = 2
_MANY = 1024  # examples read at a time
LOSS_WEIGHT = "loss_weight"  # a field that a source may have: by what a task multiplies the loss


class Encoded(NamedTuple):
    """An example as it is stored, of which a part can be decoded."""

    data: Any  # the pixels: the bytes of an image file, or the path of a video
    values: Example  # the other fields
    name: str  # what an error calls it


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One split of a source; can be pickled for worker processes, which reopen its files.

    Attributes:
      name: unique within the source and fit for a file name: "train", "test", "train-5f2c01aa".
      num_examples: N.
      fields: what `read` returns: the shape, dtype and kind of each array.
      read: index in [0, N) -> {field: array}; CorruptImageError names what cannot be decoded. Safe
        to call from several threads.
      group_N: int32, the group (class) of each example, of which a held-out part has its share;
        None where it is not known without reading the examples.
      bulk: what `read_many` does, where the format reads many records faster than one by one.
      encoded: the examples of many indices as they are stored, so that a part of each can be
        decoded; None where they are not stored as files.
      parent: the split whose examples a subset has, so that decoded images are cached once.
      index_N: which of the parent's examples a subset has.
    """

    name: str
    num_examples: int
    fields: Fields
    read: Callable[[int], Example]
    group_N: np.ndarray | None = None
    bulk: Callable[[Sequence[int]], list[Example | CorruptImageError]] | None = None
    encoded: Callable[[Sequence[int]], list[Encoded | CorruptImageError]] | None = None
    parent: "Split | None" = None
    index_N: np.ndarray | None = None

    def __len__(self) -> int:
        return self.num_examples

    @property
    def pixels(self) -> str:
        """The name of the field that the model reads."""
        return pixels_of(self.fields)

    def read_many(self, index_B: Sequence[int]) -> list[Example | CorruptImageError]:
        """Returns what `read` gives for each index; in a corrupt image's place, its error."""
        if self.bulk is not None:
            return self.bulk(index_B)
        return [_read_or_error(self.read, index) for index in index_B]


@dataclasses.dataclass(frozen=True)
class Source:
    """A training and a test split of examples with the same fields, maybe a validation split.

    Attributes:
      name: as in config key `data.source`.
      class_names: K names, in the order of the classes' numbers.
      train: what is trained on.
      test: what is reported on, and used for no choice.
      fingerprint: 16 hex digits; another when the data, the image size or the split changes.
      validation: what the data itself sets apart for choices, or None.
      files: those of each split, by its name, where they are read from files.
      listed: of each split, by its name, a digest of what a list says of the examples beside their
        files, such as classes; for data that has such a list.
      handed: whether a mirrored example is of another class by the making of the data.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split
    fingerprint: str
    validation: Split | None = None
    files: Mapping[str, Files] = dataclasses.field(default_factory=dict)
    listed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    handed: bool = False

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(H, W, C) of every image, (F, H, W, C) of every clip."""
        return self.train.fields[self.train.pixels].shape


def subset(split: Split, index_N: np.ndarray, name: str | None = None) -> Split:
    """Returns the split whose example i is example `index_N[i]` of `split`.

    Its name ends with a hash of the indices, so that no two subsets share a cache.
    """
    index_N = np.asarray(index_N, np.int64)
    digest = hashlib.sha256(index_N.tobytes()).hexdigest()[:8]
    reader = _SubsetReader(split, index_N)
    return Split(
        f"{name or split.name}-{digest}",
        len(index_N),
        split.fields,
        reader,
        None if split.group_N is None else split.group_N[index_N],
        bulk=reader.read_many,
        encoded=reader.read_encoded if split.encoded is not None else None,
        parent=split,
        index_N=index_N,
    )


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split | None]:
    """Returns (the rest, a random part of round(fraction * N) examples), both in the split's order.

    The part is a function of (seed, N), and of the groups where they are known: then each group has
    its share of it. With fraction 0 it is (split, None).

    Raises:
      UserError: the fraction leaves one side empty.
    """
    if fraction == 0:
        return split, None
    num_held = round(fraction * split.num_examples)
    if not 0 < num_held < split.num_examples:
        raise UserError(
            "config key 'data.validation' expects a fraction that leaves both parts examples, "
            f"found {fraction}: {num_held} of {split.num_examples} would be held out"
        )
    is_held_N = choose(split.num_examples, num_held, seed, _VALIDATION_TAG, split.group_N)
    held = subset(split, np.flatnonzero(is_held_N), "validation")
    return subset(split, np.flatnonzero(~is_held_N)), held


def choose(
    num_examples: int, num_chosen: int, seed: int, tag: int, group_N: np.ndarray | None
) -> np.ndarray:
    """Returns a bool mask of N of which `num_chosen` are True: random by (seed, tag).

    Given groups, each is chosen from in proportion, rounded by largest remainders.
    """
    # random_raw, because NumPy keeps the stream of a bit generator for ever, but not of Generator.
    bits = np.random.PCG64(np.random.SeedSequence([seed, tag]))
    priority_N = bits.random_raw(num_examples)
    if group_N is None:
        group_N = np.zeros(num_examples, np.int32)
    count_K = np.bincount(group_N)
    share_K = num_chosen * count_K / num_examples
    quota_K = np.floor(share_K + 1e-9).astype(np.int64)
    by_remainder_K = np.argsort(quota_K - share_K, kind="stable")
    quota_K[by_remainder_K[: num_chosen - quota_K.sum()]] += 1
    order_N = np.lexsort((priority_N, group_N))  # group by group, in random order
    rank_N = np.arange(num_examples) - (np.cumsum(count_K) - count_K)[group_N[order_N]]
    chosen_N = np.zeros(num_examples, bool)
    chosen_N[order_N] = rank_N < quota_K[group_N[order_N]]
    return chosen_N


def fingerprint(*parts: Any) -> str:
    """Returns 16 hex digits of the sha256 of `parts`, which are what JSON can write."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def labelled_fields(image_shape: tuple[int, ...], pixels: str = "image") -> Fields:
    """Returns the fields of images (or clips) of one class each: `pixels` and "label"."""
    return {
        pixels: Field(image_shape, np.uint8, "pixels"),
        "label": Field((), np.int32, "value"),
    }


def masked_fields(image_shape: tuple[int, ...], pixels: str = "image") -> Fields:
    """Returns the fields of images with a class for each pixel: `pixels` and "mask"."""
    return {
        pixels: Field(image_shape, np.uint8, "pixels"),
        "mask": Field(image_shape[:2], np.uint8, "map"),
    }


def labelled(label: int, **pixels: np.ndarray) -> Example:
    """Returns an example with a label; `pixels` is image=image_HWC or clip=clip_FHWC."""
    return {**pixels, "label": np.int32(label)}  # type: ignore[dict-item]


def labels_of(split: Split) -> np.ndarray:
    """Returns label_N, int32, of all examples, -1 of those that cannot be read.

    Pixels are decoded only where there is no other way.
    """
    if split.group_N is not None:
        return split.group_N
    found: list[int] = []
    for first in range(0, len(split), _MANY):
        index_B = range(first, min(first + _MANY, len(split)))
        if split.encoded is not None:
            examples = [e.values if isinstance(e, Encoded) else e for e in split.encoded(index_B)]
        else:
            examples = split.read_many(index_B)
        found += [-1 if isinstance(e, CorruptImageError) else int(e["label"]) for e in examples]
    return np.array(found, np.int32)


def check_label(label: int, num_classes: int, name: str) -> int:
    """Returns `label` if it is in [0, num_classes), else raises a UserError with `name`."""
    if not 0 <= label < num_classes:
        raise UserError(f"{name}: expected a label from 0 to {num_classes - 1}, found {label}")
    return label


@dataclasses.dataclass(frozen=True, eq=False)
class _SubsetReader:
    split: Split
    index_N: np.ndarray

    def __call__(self, index: int) -> Example:
        return self.split.read(int(self.index_N[index]))

    def read_many(self, index_B: Sequence[int]) -> list[Example | CorruptImageError]:
        return self.split.read_many(self.index_N[np.asarray(index_B, np.int64)].tolist())

    def read_encoded(self, index_B: Sequence[int]) -> list[Encoded | CorruptImageError]:
        assert self.split.encoded is not None
        return self.split.encoded(self.index_N[np.asarray(index_B, np.int64)].tolist())


def _read_or_error(read: Callable[[int], Example], index: int) -> Example | CorruptImageError:
    try:
        return read(index)
    except CorruptImageError as error:
        return error
