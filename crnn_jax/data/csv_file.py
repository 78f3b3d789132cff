"""Images that a CSV file lists: a path and a class in each row, and maybe a split and a weight."""

import csv
import dataclasses
import math
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.data import folder
from crnn_jax.data.class_folders import hash_of_path
from crnn_jax.data.content import Files, key_of
from crnn_jax.data.decode import decoding
from crnn_jax.data.fields import Example, Field
from crnn_jax.data.splits import LOSS_WEIGHT, Encoded, Source, Split, fingerprint
from crnn_jax.data.walk import File, composed, file_of
from crnn_jax.errors import CorruptImageError, UserError, closest

_NEEDED, _OPTIONAL = ("path", "label"), ("split", "weight")
_MOST_WEIGHT = 1e30  # the sum of many is finite
_PARTS = {"train": "train", "test": "test"}
_PARTS |= dict.fromkeys(("val", "valid", "validation"), "validation")


class Row(NamedTuple):
    """A row of the file."""

    line: int  # counted from 1
    path: str  # as it is written
    label: str  # the class
    part: str  # "train", "test", "validation"; "" without a column "split"
    weight: float


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns the RGB images that the CSV file `location` lists; class names are sorted.

    Its first row names the columns: path and label, maybe split and weight; others are left out. A
    path is absolute, or relative to the file's folder. `split` is train, test or val: the
    validation part, unless config key `data.validation` holds one out of train; the test split
    where there is no test. Without it, an image is in the test split as in `folder.load`: by the
    hash of its path. A weight, 0 or more, multiplies the loss of a training
    example; over all of them its mean is made 1.

    Args:
      location: the file.
      data_config: as `folder.load` reads it.
      seed: not used.

    Raises:
      UserError: a file that cannot be read, or is no such table; images that are not there, without
        skip_corrupt; a class that only the test split has; a path in two splits or classes; no
        training example with a weight above 0.
    """
    del seed
    path = pathlib.Path(location).expanduser()
    rows = read_rows(path)
    _check_twice(path, rows)
    parts = _divide(path, rows, data_config)
    class_names = _class_names(path, parts["train"], rows)
    root = path.parent.absolute()
    files = {row.path: _file(path, row, data_config.skip_corrupt) for row in rows}
    shape = folder.first_shape(root, [files[row.path] for row in parts["train"]], data_config)
    mean = _mean_weight(path, parts["train"])
    has_weights = any(row.weight != mean for row in parts["train"])
    splits, files_of, listed = {}, {}, {}
    for name, part in parts.items():
        ordered = [row for label in class_names for row in part if row.label == label]
        of_class = {c: [files[row.path] for row in ordered if row.label == c] for c in class_names}
        split = folder._split(name, root, of_class, class_names, shape, data_config)
        # Training alone has weights, but all splits have the same fields.
        weights = [row.weight / mean if name == "train" else 1.0 for row in ordered]
        splits[name] = _weighted(split, weights) if has_weights else split
        files_of[name] = Files(root, [files[row.path] for row in ordered])
        listed[name] = fingerprint([row.label for row in ordered], weights)
    key = key_of(files_of.values()), [row[2:] for row in rows], data_config.test_fraction
    return Source(
        name=f"csv:{location}",
        class_names=class_names,
        fingerprint=fingerprint("csv", *key, data_config.image_size, decoding(data_config)),
        files=files_of,
        listed=listed,
        **splits,
    )


def _class_names(path: pathlib.Path, train: list[Row], rows: list[Row]) -> tuple[str, ...]:
    names = tuple(sorted({row.label for row in train}))
    for row in rows:
        if row.label not in names:
            found = f"a label that train has, found '{row.label}'"
            raise _mistake(path, row, found, row.label, names)
    return names


def read_rows(path: pathlib.Path) -> list[Row]:
    """Returns the rows of the file.

    Raises:
      UserError: it cannot be read, or a row is not as its columns say.
    """
    rows: list[Row] = []
    line = 0
    if path.exists() and not (path.is_file() or path.is_dir()):  # it may have no end
        raise UserError(f"'{path}': expected a file on a disk, found a device or a pipe")
    try:
        with path.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.reader(opened, strict=True)
            names = [name.strip().lower() for name in next(reader, [])]
            _check_columns(path, names)
            for cells in reader:
                line = reader.line_num
                if cells:  # a blank line has none
                    rows.append(_row(path, line, names, cells))
    except FileNotFoundError:
        raise UserError(
            f"config key 'data.source' expects csv:FILE, found no file '{path}'"
        ) from None
    except OSError as error:
        raise UserError(f"'{path}': expected a readable file, found: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(
            f"'{path}', after line {line}: expected comma-separated values in UTF-8, with \"\" for "
            f"a quote inside quotes, found: {error}"
        ) from None
    if not rows:
        raise UserError(f"'{path}': expected a row for each image, found none")
    return rows


def _check_columns(path: pathlib.Path, names: list[str]) -> None:
    known = _NEEDED + _OPTIONAL
    missing = [name for name in _NEEDED if name not in names]
    twice = next((name for name in known if names.count(name) > 1), None)
    if missing or twice:
        found = f"'{twice}' twice" if twice else ", ".join(names) or "none"
        raise UserError(
            f"'{path}': expected a first row with the columns path and label, maybe split and "
            f"weight, found {found}"
        )
    for name in names:
        if name not in known and (hint := closest(name, set(known) - set(names))):
            raise UserError(f"'{path}': expected no column '{name}', found one{hint}")
    if others := [name for name in names if name not in known]:
        print(f"'{path}': left out the columns {', '.join(others)}", file=sys.stderr)


def _row(path: pathlib.Path, line: int, names: list[str], cells: list[str]) -> Row:
    if len(cells) != len(names):
        raise UserError(
            f"'{path}', line {line}: expected {len(names)} values, found {len(cells)}; a value "
            "with a comma stands in quotes"
        )
    value = dict(zip(names, (cell.strip() for cell in cells), strict=True))
    label = composed(value["label"])
    row = Row(line, value["path"], label, "", 1.0)
    for name in _NEEDED:
        if not value[name]:
            raise _mistake(path, row, f"a {name}, found an empty one")
        if "\0" in value[name]:
            raise _mistake(path, row, f"a {name} without null characters, found one")
    if "split" in value:
        part = _PARTS.get(value["split"].lower())
        if part is None:
            found = f"train, test or val, found '{value['split']}'"
            raise _mistake(path, row, found, value["split"], _PARTS)
        row = row._replace(part=part)
    if "weight" in value:
        try:
            row = row._replace(weight=float(value["weight"]))
        except ValueError:
            row = row._replace(weight=math.nan)
        if not 0 <= row.weight <= _MOST_WEIGHT:
            raise _mistake(path, row, f"a weight of 0 or more, found '{value['weight']}'")
    return row


def _mistake(
    path: pathlib.Path, row: Row, text: str, name: str = "", valid: Sequence[str] | dict = ()
) -> UserError:
    return UserError(f"'{path}', line {row.line}: expected {text}{closest(name, valid)}")


def _check_twice(path: pathlib.Path, rows: list[Row]) -> None:
    seen: dict[str, Row] = {}
    for row in rows:
        other = seen.setdefault(row.path, row)
        if (other.label, other.part) != (row.label, row.part):
            raise _mistake(
                path,
                row,
                f"'{row.path}' in one class and split, found another in line {other.line}",
            )


def _divide(path: pathlib.Path, rows: list[Row], data_config: Any) -> dict[str, list[Row]]:
    """Returns the rows of "train", "test" and, where there is one, "validation"."""
    if not rows[0].part:
        held = {row.path for row in rows if hash_of_path(row.path) < data_config.test_fraction}
        parts = {
            "train": [row for row in rows if row.path not in held],
            "test": [row for row in rows if row.path in held],
        }
        where = "raise config key 'data.test_fraction', or add a column 'split'"
    else:
        of = {part: [row for row in rows if row.part == part] for part in set(_PARTS.values())}
        parts = {"train": of["train"], "test": of["test"] or of["validation"]}
        if of["test"] and of["validation"]:
            if data_config.validation == 0:
                parts["validation"] = of["validation"]
            else:
                print(
                    f"'{path}': left out {len(of['validation'])} rows of split val, since "
                    f"'data.validation' is {data_config.validation}",
                    file=sys.stderr,
                )
        where = "see its column 'split'"
    for name, part in parts.items():
        if not part:
            raise UserError(f"'{path}': expected rows of split '{name}', found none; {where}")
    return parts


def _file(path: pathlib.Path, row: Row, skip_missing: bool) -> File:
    try:
        status = os.stat(path.parent / row.path)
    except OSError as error:
        if skip_missing:  # it keeps its place, as any unreadable image
            return File(row.path, 0, 0, 0)
        raise UserError(
            f"'{path}', line {row.line}: expected an image at '{path.parent / row.path}', found: "
            f"{error.strerror}; paths are relative to the CSV file"
        ) from None
    return file_of(row.path, status)


def _mean_weight(path: pathlib.Path, rows: list[Row]) -> float:
    mean = math.fsum(row.weight for row in rows) / len(rows)
    if mean == 0:
        raise UserError(
            f"'{path}': expected a training row with a weight above 0, found {len(rows)} of 0: "
            "give one row more"
        )
    return mean


@dataclasses.dataclass(frozen=True, eq=False)
class _WeightedReader:
    split: Split
    weight_N: np.ndarray

    def __call__(self, index: int) -> Example:
        return {**self.split.read(index), LOSS_WEIGHT: self.weight_N[index]}

    def read_encoded(self, index_B: Sequence[int]) -> list[Encoded | CorruptImageError]:
        assert self.split.encoded is not None
        return [
            item
            if isinstance(item, CorruptImageError)
            else item._replace(values={**item.values, LOSS_WEIGHT: self.weight_N[index]})
            for index, item in zip(index_B, self.split.encoded(index_B), strict=True)
        ]


def _weighted(split: Split, weights: list[float]) -> Split:
    """Returns the split with a field of weights."""
    reader = _WeightedReader(split, np.array(weights, np.float32))
    fields = {**split.fields, LOSS_WEIGHT: Field((), np.float32, "value")}
    return Split(split.name, len(split), fields, reader, split.group_N, encoded=reader.read_encoded)
