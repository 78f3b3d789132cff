"""What the page expects of the files of a run, so that a damaged one is named in one line."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from crnn_jax.errors import UserError

Facts = dict[str, Any]
Shape = tuple[str, Callable[[Any], bool]]  # what it is called, and whether a value has it


def is_number(value: Any) -> bool:
    """Returns whether it is a finite number, as JSON has them."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def is_summary(value: Any) -> bool:
    """Returns whether it is what a split was evaluated to: a score, and counts that fit."""
    if not isinstance(value, dict) or not is_number(value.get(score_name(value))):
        return False
    if "num_correct" not in value:
        return True
    right, count = value["num_correct"], value.get("num_examples")
    return isinstance(right, int) and isinstance(count, int) and 0 <= right <= count > 0


def score_name(summary: Facts) -> str:
    """Returns what a summary names first that is no loss and no count; "" where there is none."""
    return next((key for key in summary if key != "loss" and not key.startswith("num_")), "")


_NUMBER: Shape = ("a number", is_number)
_NUMBER_OR_NULL: Shape = ("a number or null", lambda value: value is None or is_number(value))
_LIST: Shape = ("a list", lambda value: isinstance(value, list))
_TEXT: Shape = ("a text", lambda value: isinstance(value, str))
_OBJECT: Shape = ("an object", lambda value: isinstance(value, dict))
_NUMBERS: Shape = (
    "an object of numbers",
    lambda value: isinstance(value, dict) and all(map(is_number, value.values())),
)
_SUMMARY: Shape = ("a split's score", is_summary)

CONFIG: Mapping[str, Shape] = {"eval.report": _TEXT}  # by dotted keys
DATASET: Mapping[str, Shape] = {"input_shape": _LIST, "image_shape": _LIST, "class_names": _LIST}
RESULT: Mapping[str, Shape] = {
    "steps": _NUMBER,
    "epochs": _NUMBER,
    "flops_per_image": _NUMBER,
    "parameters": _NUMBER,
    "images_per_second": _NUMBER_OR_NULL,
    "mfu": _NUMBER_OR_NULL,
    "seconds": _NUMBERS,
    "versions": _OBJECT,
    "test": _SUMMARY,
    "validation": _SUMMARY,
}
RESULT_HAS = ("steps", "epochs", "flops_per_image")  # in every version


def check(
    path: pathlib.Path, facts: Facts, shapes: Mapping[str, Shape], needed: tuple[str, ...] = ()
) -> Facts:
    """Returns the facts of a file, once each that is named has its shape.

    Args:
      path: where the file is.
      facts: what it holds.
      shapes: what may be there, and of which shape.
      needed: names that have to be there.

    Raises:
      UserError: names the file, and what is missing or of another shape.
    """
    for name in needed:
        if name not in facts:
            raise UserError(f"'{path}' expects '{name}', found none: bring back a copy")
    for name, (what, fits) in shapes.items():
        if name in facts and not fits(facts[name]):
            found = repr(facts[name])
            found = found if len(found) <= 40 else f"{found[:40]}..."
            raise UserError(
                f"'{path}' expects '{name}' to be {what}, found {found}: bring back a copy"
            )
    return facts
