"""A user's mistake: exit code 2 and one line, never a traceback."""

import argparse
import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn


class UserError(Exception):
    """A mistake of the user's; the message says what was expected, found, and is to be changed."""


class CorruptImageError(UserError):
    """An image that cannot be decoded; the message names it."""


def closest(name: str, valid: Iterable[str]) -> str:
    """Returns " (did you mean 'X'?)" for the valid name nearest to `name`, or an empty string."""
    match = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" (did you mean '{match[0]}'?)" if match else ""


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a `UserError` inside the block into one line on stderr and exit code 2."""
    try:
        yield
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line too, without the usage, and exit code 2."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        print(f"error: {message} (see --help)", file=sys.stderr)
        sys.exit(2)
