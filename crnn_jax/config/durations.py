"""Durations and windows of steps, which a config writes as text."""

import math
import re

from crnn_jax.config.key import shown
from crnn_jax.errors import UserError

MOST_STEPS = 2**31 - 1  # the state counts them in int32


def steps(duration: str, num_examples: int, batch_size: int, key: str = "duration") -> int:
    """Returns how many steps the duration "N epochs|steps|examples" takes, rounded up.

    Raises:
      UserError: not exactly one number and one of the three units, or more than `MOST_STEPS`.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*(epoch|step|example)s?\s*", duration)
    try:
        count = float(match[1]) if match else math.nan
    except ValueError:
        count = math.nan
    found = shown(duration)
    if not match or math.isnan(count):
        raise UserError(
            f"config key '{key}' expects one number of epochs, steps or examples "
            f"(such as '10 epochs'), found '{found}'"
        )
    if match[2] != "step":
        # The epsilon keeps 0.1 epochs of 1,000 examples from becoming one step more by rounding.
        count = count * (num_examples if match[2] == "epoch" else 1) / batch_size - 1e-9
    if count > MOST_STEPS:
        raise UserError(
            f"config key '{key}' expects at most {MOST_STEPS} steps, found '{found}', which is more"
        )
    return math.ceil(count)


def round_up(num_steps: int, multiple: int) -> int:
    """Returns the smallest multiple of `multiple` that is at least `num_steps`."""
    return -(-num_steps // multiple) * multiple


def check_duration(key: str, text: str) -> None:
    """Checks a duration of which the data is not known yet.

    Raises:
      UserError: see `steps`.
    """
    steps(text, 1, 1, key)


def profile_window(text: str, key: str = "log.profile") -> tuple[int, int] | None:
    """Returns (first, last) of "FIRST:LAST", steps counted from 1, or None for an empty text.

    Raises:
      UserError: not two numbers with 1 <= FIRST <= LAST.
    """
    if not text:
        return None
    match = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(
            f"config key '{key}' expects FIRST:LAST, the steps to trace (such as '10:20'), "
            f"found '{shown(text)}'"
        )
    return int(match[1]), int(match[2])
