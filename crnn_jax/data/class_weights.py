"""Weights of classes that a config gives by name: "cat:2,dog:1"."""

import math
import re
from collections.abc import Sequence

from crnn_jax.errors import UserError, closest, printable

WORDS = ("none", "balanced")
_KEY = "config key 'optim.class_weights'"
_LARGEST = 1e6
_SMALLEST = 1e-6  # above 0
_NAMES_SHOWN = 10


def check(key: str, text: str) -> None:
    """Checks what can be checked of a value before the classes are known.

    Raises:
      UserError: see `parse`.
    """
    del key
    if text not in WORDS:
        parse(text)


def parse(text: str) -> dict[str, float]:
    """Returns {"cat": 2.0, "dog": 1.0} of "cat:2,dog:1"; a name may have commas and colons.

    Raises:
      UserError: another form, a weight that is no number from 0 on, or a class that comes twice.
    """
    pairs = re.findall(r"(.+?):([^:,]*)(?:,|$)", text)
    found: dict[str, float] = {}
    for name, number in ((name.strip(), number.strip()) for name, number in pairs):
        weight = _number(number)
        if weight != 0 and not _SMALLEST <= weight <= _LARGEST:
            raise UserError(
                f"{_KEY} expects 0, or {_SMALLEST:g} to {_LARGEST:g}, for class "
                f"'{printable(name)}', found '{printable(number)}'"
            )
        if name in found:
            raise UserError(f"{_KEY} expects each class once, found '{printable(name)}' twice")
        found[name] = weight
    if not text or len(text.rstrip(",")) != len(",".join(map(":".join, pairs))):
        raise UserError(
            f"{_KEY} expects {', '.join(WORDS)} or CLASS:WEIGHT,CLASS:WEIGHT,..., such as "
            f"cat:2,dog:1, found '{printable(text)}'{closest(text, WORDS)}"
        )
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def given_weights(text: str, class_names: Sequence[str]) -> tuple[float, ...]:
    """Returns the weight of each of K classes; a class that the text does not name has 1.

    Args:
      text: as `parse` reads it.
      class_names: K, in the order of their numbers.

    Raises:
      UserError: see `parse`; a class that the data does not have, or weights that are all 0.
    """
    found = parse(text)
    for name in found:
        if name not in class_names:
            shown = ", ".join(map(printable, class_names[:_NAMES_SHOWN]))
            more = ", ..." if len(class_names) > _NAMES_SHOWN else ""
            raise UserError(
                f"{_KEY} expects classes of the data, {shown}{more}, found '{printable(name)}'"
                f"{closest(name, class_names)}"
            )
    weight_K = tuple(found.get(name, 1.0) for name in class_names)
    if not any(weight_K):
        raise UserError(
            f"{_KEY} expects a weight above 0, found 0 for every class of the data: "
            "give one class more"
        )
    return weight_K
