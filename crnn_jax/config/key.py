"""What is declared of a config key, once: its default, meaning, choices or range, and role."""

import dataclasses
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from crnn_jax.errors import UserError, closest, printable

_SMALLEST_NORMAL = 2.0**-126  # in float32; devices take what is smaller for 0
_SHOWN = 60  # characters of a wrong value
_MOST_ELEMENTS = 16  # in a tuple

Changes = Literal["never", "always", "moved", "gone", "longer", "rescue"]


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; with `above` without low, with `below` without high."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Returns whether the number, and what float32 makes of it, is inside.

        What float32 makes 0 is not: 0 may mean another thing than the smallest number.
        """
        rounded = as_float32(value) if isinstance(value, float) else value
        if value and not rounded:
            return False
        for number in (value, rounded):
            if not self.low <= number <= self.high:
                return False
            if (self.above and number == self.low) or (self.below and number == self.high):
                return False
        return True

    def __str__(self) -> str:
        """Returns "0 or more and below 1" and the like."""
        low = f"above {self.low:.12g}" if self.above else f"{self.low:.12g} or more"
        return f"{low} and {'below' if self.below else 'at most'} {self.high:.12g}"

    def short(self) -> str:
        """Returns "[0, 1)" and the like: a bracket is inside, a parenthesis outside."""
        first, last = "(" if self.above else "[", ")" if self.below else "]"
        return f"{first}{self.low:.12g}, {self.high:.12g}{last}"


def above_0(high: float) -> Range:
    """Returns (0, high]."""
    return Range(0, high, above=True)


def from_0(high: float) -> Range:
    """Returns [0, high]."""
    return Range(0, high)


SHARE = Range(0, 1, below=True)  # a probability, a decay: 1 would leave nothing


class Former(NamedTuple):
    """A key's former name, and what each value under that name is under the new one."""

    name: str
    values: Mapping[Any, Any]


@dataclasses.dataclass(frozen=True)
class Key:
    """One config key; its type is that of the default.

    Attributes:
      default: the value in a new run.
      meaning: a phrase for --help_config and docs/config.md.
      choices: texts allowed; a function where they are a registry's, called when one is checked.
      within: range of a number, or of each element of a tuple; a tuple without it is of texts.
      pair: two whole numbers may stand for the one: (height, width), each above 0.
      whole: the elements of a tuple are whole numbers.
      check: (key, value) of a text that has a form; raises UserError.
      changes: when a resumed run may have another value. "never": it is another run then;
        "always": the key only places or reports a run; "moved": where the same data lies, after the
        same word and colon; "gone": another path of the same name, once nothing lies at the old
        one; "longer": to a greater one, with --extend;
        "rescue": after a stop by numbers that are not finite.
      auto: the value that leaves the choice to the start of the run. None: there is nothing to
        choose.
      program: whether a key with `auto` says by which program the same numbers are computed.
      absent: what a stored config without this key means: how runs were before there was the key;
        None: the default.
      former: the name that it had; stored configs and --config.KEY=VALUE may still have that.
    """

    default: Any
    meaning: str
    choices: tuple[str, ...] | Callable[[], Iterable[str]] = ()
    within: Range | None = None
    pair: bool = False
    whole: bool = False
    check: Callable[[str, Any], Any] | None = None
    changes: Changes = "never"
    auto: Any = None
    program: bool = True
    absent: Any = None
    former: Former | None = None

    @property
    def value_if_absent(self) -> Any:
        """What a stored config without this key means."""
        return self.default if self.absent is None else self.absent

    @property
    def is_registry(self) -> bool:
        """Whether the choices are read from a module, which may import JAX."""
        return callable(self.choices)

    def valid_choices(self) -> tuple[str, ...]:
        """Returns the choices; those of a registry are read now."""
        return tuple(self.choices()) if callable(self.choices) else self.choices

    def values(self) -> str:
        """Returns the choices or the range in short, "adam | sgd" or "[0, 1)"; "" for free text."""
        if choices := self.valid_choices():
            return " | ".join(choices)
        if self.within is None:
            return "True | False" if isinstance(self.default, bool) else ""
        each = "each in " if isinstance(self.default, tuple) else ""
        return each + self.within.short() + (", or (H, W)" if self.pair else "")


def as_float32(value: float) -> float:
    """Returns the number that a device computes with: rounded, infinite or 0 where out of range."""
    try:
        rounded = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded if math.isnan(rounded) or abs(rounded) >= _SMALLEST_NORMAL else 0.0


def shown(value: Any) -> str:
    """Returns the value for a message, shortened; a whole number may be too long to print."""
    try:
        text = str(value) if isinstance(value, (str, int, float)) else repr(value)
    except ValueError:
        return "a number of thousands of digits"
    text, length = printable(text[:_SHOWN]), len(text)
    return text if length <= _SHOWN else f"{text}... ({length} characters)"


def check_type(name: str, key: Key, value: Any) -> None:
    """Checks the type; a whole number may stand for a float, a list for a tuple.

    Raises:
      UserError: names the key, the type and the value.
    """
    expected = type(key.default)
    as_float = expected is float and type(value) is int
    as_tuple = (expected is tuple and type(value) is list) or is_pair(key, value)
    if type(value) is not expected and not as_float and not as_tuple:
        found = repr(value) if value is None or isinstance(value, str) else shown(value)
        raise UserError(
            f"config key '{name}' expects {expected.__name__} (such as {key.default}), "
            f"found {found}"
        )


def check_value(name: str, key: Key, value: Any) -> None:
    """Checks a value of the right type: its range, its choices or its form.

    Raises:
      UserError: names the key, what it expects and the value.
    """
    if isinstance(key.default, tuple):
        _check_elements(name, key, value)
    elif is_pair(key, value):
        _check_pair(name, key, value)
    elif key.within is not None and value not in key.within:
        rounded = as_float32(value) if isinstance(value, float) else value
        note = f" ({rounded:g} in float32)" if rounded != value and math.isfinite(value) else ""
        raise UserError(f"config key '{name}' expects {key.within}, found {shown(value)}{note}")
    if key.check is not None:
        key.check(name, value)
    if isinstance(value, str) and "\0" in value:
        raise UserError(f"config key '{name}' expects a text without null characters, found one")
    # The default is a choice (tests/config/): looking it up would import the registry's module.
    if key.choices and value != key.default and value not in (valid := key.valid_choices()):
        found = f"'{shown(value)}'{closest(value, valid)}"
        raise UserError(f"config key '{name}' expects one of {', '.join(valid)}; found {found}")


def is_pair(key: Key, value: Any) -> bool:
    """Returns whether the value is meant for two numbers of a key that allows them."""
    return key.pair and isinstance(value, (tuple, list))


def _check_pair(name: str, key: Key, value: Any) -> None:
    assert key.within is not None
    fits = all(type(side) is int and side > 0 and side in key.within for side in value)
    if len(value) != 2 or not fits:
        raise UserError(
            f"config key '{name}' expects a number {key.within}, or two such above 0, as (32, 48) "
            f"for height and width, found {shown(value)}"
        )


def _check_elements(name: str, key: Key, values: Any) -> None:
    within = key.within
    if within is None:
        if len(values) > _MOST_ELEMENTS or not all(_is_text(value) for value in values):
            raise UserError(
                f"config key '{name}' expects up to {_MOST_ELEMENTS} texts, such as 'a,b', "
                f"found {shown(values)}"
            )
        return
    types, numbers = ((int,), "whole numbers") if key.whole else ((int, float), "numbers")
    fits = all(type(value) in types and value in within for value in values)
    if not fits or not 1 <= len(values) <= _MOST_ELEMENTS:
        raise UserError(
            f"config key '{name}' expects 1 to {_MOST_ELEMENTS} {numbers} {within}, "
            f"found {shown(values)}"
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value
