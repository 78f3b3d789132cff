"""A user's mistake: exit code 2 and one line, never a traceback."""

import argparse
import contextlib
import difflib
import errno
import io
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from crnn_jax.streams import flush_or_drop, open_standard_files

_SHOWN = 200  # characters of a path


class UserError(Exception):
    """A mistake of the user's; the message says what was expected, found, and is to be changed."""


class NotFiniteError(UserError):
    """A loss or a state with NaN or inf in it; the message says where, and what to change."""

    def __init__(self, what: str, step: int) -> None:
        super().__init__(f"{what}: lower 'optim.learning_rate' or set 'optim.clip_norm'")
        self.step = step  # after which it was found


class CorruptImageError(UserError):
    """An image that cannot be decoded; the message names it."""


def closest(name: str, valid: Iterable[str]) -> str:
    """Returns " (did you mean 'X'?)" for the valid name nearest to `name`, or an empty string."""
    match = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" (did you mean '{match[0]}'?)" if match else ""


def printable(text: str) -> str:
    """Returns the text with tabs, line breaks and other control characters as escapes.

    So that a line of output is a line, and its fields are those between its tabs.
    """
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char if "\ud800" <= char <= "\udfff" else repr(char)[1:-1]


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a `UserError` inside the block into one line on stderr and exit code 2.

    So too for memory that runs out, and for a path that the system refuses. What stdout's encoding
    lacks is printed as escapes. Output that nobody reads any more, as of `predict | head`, ends the
    program with the code of SIGPIPE.
    """
    open_standard_files()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        flush_or_drop()
        sys.exit(128 + 13)
    except OSError as error:
        if (line := _of_the_system(error)) is None:
            raise
        flush_or_drop()
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        first = next(iter(str(error).splitlines()), "")[:200]
        print(
            f"error: expected enough memory, found too little ({first}): lower 'batch_size', "
            "'eval.batch_size' or the model's size",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def _without_tilde(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_tilde(item) for item in value]
    if isinstance(value, (str, pathlib.Path)):
        return type(value)(os.path.expanduser(value))
    return value


def _of_the_system(error: OSError) -> str | None:
    """Returns what the system refused, in one line; None of an error that may be a mistake here."""
    if error.filename is not None and error.strerror is not None:
        name = printable(str(error.filename))
        name = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}... ({len(name)} characters)"
        return (
            f"'{name}' cannot be used ({error.strerror}): check this path, its permissions and its "
            "disk"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return f"expected output that can be written, found: {error.strerror}; make room"
    return None


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line too, without the usage, and exit code 2.

    A shell leaves `~` as it is in --flag=~/path and in quotes; here it is the user's home in both.
    An empty text, as of --workdir=$UNSET, is an error where it would mean the current folder.
    The description, mostly a module's docstring, is shown with its lines as they are.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Returns (flags, other arguments)."""
        flags, rest = super().parse_known_args(args, namespace)
        for name, value in vars(flags).items():
            setattr(flags, name, _without_tilde(value))
        for action in self._actions:
            value = getattr(flags, action.dest, None)
            if value == "" or (isinstance(value, list) and "" in value):
                self._empty(action)
        return flags, rest

    def _empty(self, action: argparse.Action) -> None:
        """Ends the program unless the flag is one that may be left out and has no default."""
        choices = [
            member
            for group in self._mutually_exclusive_groups
            if group.required
            for member in group._group_actions
        ]
        may_be_left_out = action.option_strings and not action.required and action not in choices
        if not may_be_left_out or action.default:
            name = "/".join(action.option_strings) or action.metavar or action.dest
            self.error(f"{name} expects a value, found an empty text")

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        print(f"error: {printable(message)} (see --help)", file=sys.stderr)
        sys.exit(2)
