"""The files of a data set in TFDS's layout: what they are said to hold, and their records."""

import concurrent.futures
import os
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

from crnn_jax.data.content import Files
from crnn_jax.data.walk import composed, file_of
from crnn_jax.errors import UserError

_THREADS = 16  # open files at the start, to count their records: a network drive answers many

_T = TypeVar("_T")


def open_info(folder: pathlib.Path) -> tuple[Any, tuple[str, str], tuple[str, ...]]:
    """Returns TFDS's DatasetInfo, which features are image and label, and the names of classes.

    Raises:
      UserError: it cannot be read, has no examples to train on, or holds other data or files.
    """
    import tensorflow_datasets as tfds  # takes half a second

    try:
        info: Any = tfds.builder_from_directory(folder).info
        features = info.features
        if features is None:
            raise ValueError("no features.json")
        # TFDS looks at these when they are asked for.
        empty = [name for name, split in info.splits.items() if not split.file_instructions]
    except Exception as error:  # TFDS has no error of its own for a damaged folder
        raise UserError(
            f"'{folder}': expected a TFDS data set, found it unreadable ({error}); prepare it again"
        ) from error
    if "train" in empty:
        raise UserError(f"'{folder}': expected examples in split 'train', found none")
    found_format = info.file_format.value if info.file_format else "no format"
    if found_format != "array_record":
        raise UserError(
            f"'{folder}': expected array_record files, found {found_format}; prepare it again with "
            "file_format='array_record'"
        )
    keys = info.supervised_keys or ("image", "label")
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if len(keys) != 2 or any(
        not isinstance(key, str) or key not in features or not isinstance(features[key], kind)
        for key, kind in zip(keys, kinds, strict=False)
    ):
        raise UserError(
            f"'{folder}': expected an image and its class label, found features "
            f"{', '.join(features)}; config key 'data.source' needs image classification data"
        )
    names, count = tuple(map(composed, features[keys[1]].names)), features[keys[1]].num_classes
    if not len(names) == len(set(names)) == count:
        raise UserError(
            f"'{folder}': expected {count} names of classes, each once, found "
            f"{len(names)} lines, {len(set(names))} of them different; prepare the data set again"
        )
    return info, (keys[0], keys[1]), names


def open_records(folder: pathlib.Path, info: Any, name: str) -> Any:
    """Returns the records of split `name`, an array_record data source.

    Raises:
      UserError: a file is not there, or has more or fewer records than `info` says.
    """
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    instructions = info.splits[name].file_instructions
    for instruction in instructions:
        if not os.path.isfile(instruction.filename):
            raise UserError(
                f"'{folder}': expected file '{os.path.basename(instruction.filename)}' of split "
                f"'{name}', found none; prepare the data set again"
            )
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda instruction: _check_length(folder, instruction), instructions):
            pass  # the first error, in the order of the files, is raised here
    return ArrayRecordDataSource(instructions)


def _check_length(folder: pathlib.Path, instruction: Any) -> None:
    """Raises UserError unless the file has as many records as dataset_info.json says."""
    from array_record.python.array_record_module import ArrayRecordReader

    name = os.path.basename(instruction.filename)

    def count() -> int:
        reader = ArrayRecordReader(instruction.filename)
        found = reader.num_records()
        reader.close()  # raises what the first two did not
        return found

    found = checked_read(count, f"'{folder}' {name}")
    if found != instruction.examples_in_shard:
        raise UserError(
            f"'{folder}': expected {instruction.examples_in_shard} records in '{name}', as its "
            f"dataset_info.json says, found {found}; prepare the data set again"
        )


def checked_read(read: Callable[[], _T], where: str) -> _T:
    """Returns what `read` does; a UserError that begins with `where` for unreadable files."""
    try:
        return read()
    except (RuntimeError, ValueError, OSError) as error:  # what array_record raises
        raise UserError(
            f"{where}: expected readable array_record files, found {error}; prepare them again"
        ) from error


def files_of(folder: pathlib.Path) -> Files:
    """Returns the files in the folder, hidden ones left out."""
    paths = (path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    return Files(folder.absolute(), sorted(file_of(path.name, path.stat()) for path in paths))
