"""Data sets in TFDS's array_record layout, read without TensorFlow."""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from crnn_jax.data import tfds_folder
from crnn_jax.data.content import key_of
from crnn_jax.data.decode import decode_image, decoding, match_source, sides
from crnn_jax.data.fields import Example
from crnn_jax.data.splits import (
    Encoded,
    Source,
    Split,
    check_label,
    fingerprint,
    labelled,
    labelled_fields,
)
from crnn_jax.data.tf_example import image_and_label
from crnn_jax.data.tfds_files import checked_read, files_of, open_info, open_records
from crnn_jax.data.tfds_metadata import data_dir
from crnn_jax.errors import CorruptImageError, UserError

_SPLITS = ("train", "test", "validation")

_T = TypeVar("_T")


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns the data set `location` in the folder that `data_dir` names.

    The test split is `test`, or `validation` where there is no test or, as in ImageNet, only one
    without labels; a labelled `validation` beside it is the validation part, unless config key
    `data.validation` holds one out of train. Images are gray where they have one channel, else RGB.

    Args:
      location: NAME (its newest version) or NAME:VERSION; NAME/CONFIG for a set with configs.
      data_config: reads dir, validation, skip_corrupt, and image_size (0: every image must have
        the size of the first, which is checked when it is read).
      seed: not used.

    Raises:
      UserError: the folder, the data set, the version or a file is not there, or it holds no
        labelled images in array_record files.
    """
    del seed
    folder = tfds_folder.find(location, data_dir(data_config.dir))
    info, keys, class_names = open_info(folder)
    if "train" not in info.splits:
        raise UserError(f"'{folder}': expected a split 'train', found {', '.join(info.splits)}")
    records = {
        name: open_records(folder, info, name)
        for name in _SPLITS
        if name in info.splits and info.splits[name].num_examples
    }
    image_shape = _image_shape(info.features[keys[0]].shape, records["train"], keys, data_config)
    size, limits = data_config.image_size, (data_config.max_pixels, data_config.bit_depth)

    def split_of(name: str) -> Split:
        about = f"tfds:{location} {name}", keys, len(class_names), image_shape, size, *limits
        return _split(name, _Reader(records[name], *about))

    used, left_out = _choose_parts(folder, records, keys, data_config.validation)
    _say_left_out(folder, [name for name in info.splits if name not in records], left_out)
    splits = {name: split_of(name) for name in ("train", *used)}
    parts = dict(zip(_SPLITS, splits.values(), strict=False))
    files = files_of(folder)
    shards = [
        {os.path.basename(i.filename) for i in info.splits[name].file_instructions}
        for name in splits
    ]
    return Source(
        name=f"tfds:{location}",
        class_names=class_names,
        **parts,
        fingerprint=fingerprint("tfds", key_of([files]), size, decoding(data_config)),
        files={
            part: files._replace(files=[file for file in files.files if file.path in names])
            for part, names in zip(parts, shards, strict=True)
        },
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Reader:
    # An array_record data source, because TFDS's own spends more time on each record than Pillow
    # does. It can be pickled, opens its files when first read, and is safe in threads.
    records: Any
    where: str
    keys: tuple[str, str]
    num_classes: int
    image_shape: tuple[int, int, int]
    image_size: int | tuple[int, int]
    max_pixels: int
    bit_depth: int

    def __call__(self, index: int) -> Example:
        record = checked_read(lambda: self.records[index], f"{self.where} record {index}")
        return self._example(record, index)

    def read_many(self, index_B: Sequence[int]) -> list[Example | CorruptImageError]:
        """Returns the examples; one call for many records is several times as fast as one each."""
        return [_or_error(self._example, *pair) for pair in self._records(index_B)]

    def read_encoded(self, index_B: Sequence[int]) -> list[Encoded | CorruptImageError]:
        """Returns the stored images and their labels."""
        return [_or_error(self._encoded, *pair) for pair in self._records(index_B)]

    def _records(self, index_B: Sequence[int]) -> list[tuple[bytes, int]]:
        indices = list(index_B)
        records = (
            checked_read(lambda: self.records.__getitems__(indices), self.where) if indices else []
        )
        return list(zip(records, indices, strict=True))

    def _encoded(self, record: bytes, index: int) -> Encoded:
        name = f"{self.where} record {index}"
        data, label = _parse(record, self.keys, name)
        return Encoded(data, labelled(check_label(label, self.num_classes, name)), name)

    def _example(self, record: bytes, index: int) -> Example:
        data, values, name = self._encoded(record, index)
        image_HWC = decode_image(bytes(data), name, self.max_pixels, self.bit_depth)
        return {"image": match_source(image_HWC, self.image_shape, self.image_size, name), **values}


def _or_error(
    read: Callable[[bytes, int], _T], record: bytes, index: int
) -> _T | CorruptImageError:
    try:
        return read(record, index)
    except CorruptImageError as error:
        return error


def _split(name: str, reader: _Reader) -> Split:
    return Split(
        name,
        len(reader.records),
        labelled_fields(reader.image_shape),
        reader,
        bulk=reader.read_many,
        encoded=reader.read_encoded,
    )


def _image_shape(
    stored_shape: Sequence[int | None], records: Any, keys: tuple[str, str], data_config: Any
) -> tuple[int, int, int]:
    channels = 1 if stored_shape[2] == 1 else 3
    if size := sides(data_config.image_size):
        return *size, channels
    height, width = stored_shape[:2]
    if height is not None and width is not None:
        return height, width, channels
    for index in range(len(records)):
        name = f"{data_config.source} train record {index}"
        try:
            record = checked_read(lambda index=index: records[index], name)
            height, width, _ = decode_image(
                bytes(_parse(record, keys, name)[0]),
                name,
                data_config.max_pixels,
                data_config.bit_depth,
            ).shape
        except CorruptImageError:
            if not data_config.skip_corrupt:
                raise
        else:
            return height, width, channels
    raise UserError(f"{data_config.source}: expected a readable training image, found none")


def _choose_parts(
    folder: pathlib.Path, records: dict[str, Any], keys: tuple[str, str], held_out: float
) -> tuple[list[str], dict[str, str]]:
    """Returns the names of the test split and, where there is one besides, the validation split.

    The second is {name of the other one: why it is left out}.
    """
    labelled, left_out = [], {}
    for name in ("test", "validation"):
        if name in records:
            where = f"'{folder}' {name}"
            first = checked_read(lambda name=name: records[name][0], where)
            if _parse(first, keys, where)[1] >= 0:  # TFDS writes -1 where a label is not known
                labelled.append(name)
            else:
                left_out[name] = "its first example has no label"
    if not labelled:
        raise UserError(
            f"'{folder}': expected a labelled split 'test' or 'validation', found neither"
        )
    if len(labelled) == 2 and held_out:
        left_out[labelled.pop()] = f"'data.validation' is {held_out}"
    return labelled, left_out


def _say_left_out(folder: pathlib.Path, unread: list[str], left_out: dict[str, str]) -> None:
    """Says in one line on stderr which splits are not used, and why."""
    reasons = left_out | {
        name: "it is empty" if name in _SPLITS else "it is neither train, test nor validation"
        for name in unread
    }
    if reasons:
        said = "; ".join(f"split '{name}', since {why}" for name, why in reasons.items())
        print(f"'{folder}': left out {said}", file=sys.stderr)


def _parse(record: bytes, keys: tuple[str, str], name: str) -> tuple[memoryview, int]:
    """Returns the encoded image and the label of a serialized tf.train.Example."""
    try:
        return image_and_label(record, *keys)
    except ValueError as error:
        raise CorruptImageError(
            f"{name}: expected an image and a label, found an unreadable record ({error})"
        ) from error
