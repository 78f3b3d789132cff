"""What is kept of data and programs: python -m crnn_jax.data.cache list|prune

list: decoded splits, statistics and compiled programs; sizes and when they were last used. prune:
deletes what was not used for --older_than, and then what was used longest ago until --max_gb is
kept. Trainings may run meanwhile: what they miss is made again.
"""

import os
import pathlib
import re
import shutil
import sys
import time
import uuid
from collections.abc import Collection
from typing import NamedTuple

from ml_collections import ConfigDict

from crnn_jax.data.cache import MANIFEST, STALE_SECONDS, cache_dir
from crnn_jax.errors import OneLineParser, UserError, one_line_errors

_UNITS = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}  # seconds
_GB = 1e9
_NAMES = {
    "decoded": re.compile(r"[0-9a-f]{16}-.+"),  # a folder for each split
    "statistics": re.compile(r"[0-9a-f]{16}-.+\.json"),
    "xla": re.compile(r".+-[0-9a-f]{64}-(cache|atime)"),
}
_TEMPORARY = re.compile(r"\.(tmp|probe)-[0-9a-f]{32}")


class Entry(NamedTuple):
    """One thing that is kept: the folder of a decoded split, or a file."""

    kind: str
    path: pathlib.Path
    num_bytes: int
    used: float  # seconds since 1970


def main(argv: list[str]) -> None:
    """Lists or prunes; a user's mistake ends with exit code 2 and one line."""
    parser = OneLineParser(
        prog="python -m crnn_jax.data.cache",
        description=__doc__,
    )
    parser.add_argument("--cache_dir", default="", help="default: that of an empty data.cache_dir")
    parser.add_argument("--older_than", metavar="TIME", help="prune: such as 30d, 12h or 4w")
    parser.add_argument("--max_gb", metavar="N", help="prune: how much is kept; 0: nothing")
    parser.add_argument("action", choices=("list", "prune"))
    flags = parser.parse_args(argv)
    with one_line_errors():
        folder = cache_dir(ConfigDict({"cache_dir": flags.cache_dir}))
        if flags.cache_dir and not folder.is_dir():
            raise UserError(f"expected a cache in '{folder}', found no such folder: --cache_dir")
        seconds, num_bytes = _seconds(flags.older_than), _bytes(flags.max_gb)
        limited = flags.older_than is not None or flags.max_gb is not None
        if limited != (flags.action == "prune"):
            raise UserError(
                f"{flags.action} expects "
                + ("no limits, found" if limited else "one of, found neither")
                + " --older_than or --max_gb"
            )
        now = time.time()
        found = entries(folder)
        if flags.action == "list":
            _list(found, now)
        else:
            kept = prune(found, now - seconds, num_bytes)
            _remove_leftovers(folder, now)
            print(f"deleted {_total(set(found) - set(kept))}")
            found = kept
        print(f"{_total(found)} in '{folder}'")


def entries(folder: pathlib.Path) -> list[Entry]:
    """Returns what the cache in `folder` keeps, the longest unused first.

    Files with other names than those of a cache are somebody's own, and not among them.
    """
    found = []
    for kind, name in _NAMES.items():
        for path in (folder / kind).glob("*"):
            if name.fullmatch(path.name) and (entry := _entry(kind, path)):
                found.append(entry)
    return sorted(found, key=lambda entry: entry.used)


def _entry(kind: str, path: pathlib.Path) -> Entry | None:
    """Returns the entry at `path`; None where it is deleted meanwhile."""
    try:
        if not path.is_dir():
            return Entry(kind, path, path.stat().st_size, path.stat().st_mtime)
        states = {file.name: file.stat() for file in path.iterdir()}
        used = states.get(MANIFEST, path.stat()).st_mtime
    except OSError:
        return None
    return Entry(kind, path, sum(state.st_size for state in states.values()), used)


def prune(found: list[Entry], oldest: float, num_bytes: float) -> list[Entry]:
    """Deletes what was last used before `oldest`, and more until at most `num_bytes` are kept.

    Args:
      found: as from `entries`.
      oldest: seconds since 1970.
      num_bytes: most that is kept in all; what was used longest ago goes first.

    Returns:
      What is kept, in the same order.

    Raises:
      UserError: an entry cannot be deleted.
    """
    total = sum(entry.num_bytes for entry in found)
    for number, entry in enumerate(found):
        if entry.used >= oldest and total <= num_bytes:
            return found[number:]
        _delete(entry.path)
        total -= entry.num_bytes
    return []


def _delete(path: pathlib.Path) -> None:
    """Renames, then deletes: a reader sees all of an entry or, from one moment on, nothing."""
    aside = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
        shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    except FileNotFoundError:
        pass  # another has deleted it
    except OSError as error:
        raise UserError(
            f"'{path}' expects to be deletable, found: {error.strerror or error}; delete it as its "
            "owner, or choose another --cache_dir"
        ) from None


def _remove_leftovers(folder: pathlib.Path, now: float) -> None:
    """Removes what killed writers have left; a file that is being written is younger than that."""
    for kind in _NAMES:
        for path in (folder / kind).glob("*"):
            try:
                old = now - path.stat().st_mtime > STALE_SECONDS
            except OSError:
                continue
            if old and _TEMPORARY.match(path.name):
                _delete(path)


def _list(found: list[Entry], now: float) -> None:
    for kind in _NAMES:
        part = [entry for entry in found if entry.kind == kind]
        if kind == "decoded":
            for entry in part:
                print(f"decoded/{entry.path.name}  {_size([entry])}  used {_ago(now - entry.used)}")
        elif part:
            first, last = (_ago(now - part[end].used) for end in (0, -1))
            print(f"{kind}  {_total(part)}  used {first}{f' to {last}' if last != first else ''}")


def _ago(seconds: float) -> str:
    unit = "d" if seconds >= 2 * _UNITS["d"] else "h"
    return f"{max(0, seconds) / _UNITS[unit]:.0f}{unit} ago"


def _total(found: Collection[Entry]) -> str:
    return f"{len(found)} {'entry' if len(found) == 1 else 'entries'}, {_size(found)}"


def _size(found: Collection[Entry]) -> str:
    return f"{sum(entry.num_bytes for entry in found) / 1e6:.1f} MB"


def _seconds(text: str | None) -> float:
    """Returns the seconds of a time such as 30d; infinite without one."""
    if text is None:
        return float("inf")
    match = re.fullmatch(r"([0-9]{1,9})([hdw])", text.strip())
    if not match:
        raise UserError(f"--older_than expects hours, days or weeks such as 30d, found '{text}'")
    return int(match[1]) * _UNITS[match[2]]


def _bytes(text: str | None) -> float:
    """Returns the bytes of a number of GB; infinite without one."""
    if text is None:
        return float("inf")
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?", text.strip()):
        raise UserError(f"--max_gb expects a number of GB such as 20 or 0.5, found '{text}'")
    return float(text) * _GB


if __name__ == "__main__":
    main(sys.argv[1:])
