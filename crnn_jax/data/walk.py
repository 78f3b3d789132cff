"""The files below a folder: one walk for training and for predict."""

import heapq
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

UNWANTED_NAME = "another kind by its name"
SEEN = "a link to a folder that is read elsewhere"
AROUND = "a link to a folder that holds it"
SPECIAL = "neither a file nor a folder"
_SHOWN = 2  # paths that a line names for each reason


class File(NamedTuple):
    """A file that was found."""

    path: str  # below the root, with /
    size: int  # bytes
    ctime_ns: int  # time of the last change of its bytes or status, which the kernel sets
    inode: int


def file_of(path: str, status: os.stat_result) -> File:
    """Returns the file at `path` below a root."""
    return File(path, status.st_size, status.st_ctime_ns, status.st_ino)


def composed(name: str) -> str:
    """Returns the name in Unicode's composed form (NFC): é can be stored as one or two characters.

    Names of classes and paths have it wherever they are compared.
    """
    return unicodedata.normalize("NFC", name)


class LeftOut(NamedTuple):
    """A file or folder that was not taken."""

    path: str  # below the root, with /; "." is the root
    reason: str
    is_unreadable: bool  # it is wanted, or may hold what is wanted, and cannot be read


class Walk(NamedTuple):
    """What lies below a folder; both lists are sorted by path."""

    files: list[File]
    left_out: list[LeftOut]


def walk_files(root: str | os.PathLike, is_wanted: Callable[[str], bool]) -> Walk:
    """Returns the wanted files below `root`, at any depth, and what was left out.

    Hidden files and folders are passed over without a word. A linked folder is entered as any
    other, but no folder twice: where several paths lead to one, the path without links is taken,
    else the first in order; a link to a folder around `root` is not entered. So the result does
    not depend on the file system's order, and links that form a loop do no harm.

    Args:
      root: a folder.
      is_wanted: a file's name -> whether it is wanted.
    """
    root = os.fspath(root)
    files: list[File] = []
    left_out: list[LeftOut] = []
    seen = dict.fromkeys(_around(root), AROUND)
    folders, links = [""], []  # below the root, without and with a link on the way
    while folders or links:
        below = folders.pop() if folders else heapq.heappop(links)
        try:
            identity = _identity(os.stat(os.path.join(root, below)))
            if identity in seen:
                left_out.append(LeftOut(below, seen[identity], False))
                continue
            seen[identity] = SEEN
            with os.scandir(os.path.join(root, below)) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        path = f"{below}/{entry.name}" if below else entry.name
                        found = _classify(entry, path, is_wanted)
                        if isinstance(found, File):
                            files.append(found)
                        elif isinstance(found, LeftOut):
                            left_out.append(found)
                        elif entry.is_symlink():
                            heapq.heappush(links, path)
                        else:
                            folders.append(path)
        except OSError as error:
            left_out.append(LeftOut(below or ".", _why(error), True))
    return Walk(sorted(files), sorted(left_out))


def describe(left_out: Iterable[LeftOut | tuple[str, str]]) -> str:
    """Returns "3 (another kind by its name: a.txt, b.txt, ...); 1 ..." for (path, reason, ...)s."""
    paths: dict[str, list[str]] = {}
    for path, reason, *_ in left_out:
        paths.setdefault(reason, []).append(path)
    count = Counter({reason: len(items) for reason, items in paths.items()})
    parts = []
    for reason, number in count.most_common():
        shown = ", ".join(paths[reason][:_SHOWN]) + (", ..." if number > _SHOWN else "")
        parts.append(f"{number} ({reason}: {shown})")
    return " ".join("; ".join(parts).split())


def _classify(
    entry: os.DirEntry[str], path: str, is_wanted: Callable[[str], bool]
) -> File | LeftOut | None:
    """Returns None for a folder."""
    wanted = is_wanted(entry.name)
    try:
        status = entry.stat() if wanted or entry.is_symlink() else None
        mode = status.st_mode if status else 0
        if stat.S_ISDIR(mode) or (status is None and entry.is_dir()):
            return None
    except OSError as error:
        # A link that leads nowhere may have been a folder of images, whatever its name.
        return LeftOut(path, _why(error), wanted or "." not in entry.name)
    if not wanted:
        return LeftOut(path, UNWANTED_NAME, False)
    assert status is not None
    if not stat.S_ISREG(mode):  # a pipe, whose reading could wait for ever
        return LeftOut(path, SPECIAL, False)
    return file_of(path, status)


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "a broken link"
    return f"not readable: {error.strerror or error}"


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _around(root: str) -> list[tuple[int, int]]:
    """Returns the identities of the folders that hold `root`."""
    found, folder = [], os.path.realpath(root)
    while (parent := os.path.dirname(folder)) != folder:
        folder = parent
        try:
            found.append(_identity(os.stat(folder)))
        except OSError:  # then no link to it can be entered either
            continue
    return found
