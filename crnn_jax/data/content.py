"""What tells one set of files from another: a key for caches, and a digest of what they hold."""

import concurrent.futures
import hashlib
import itertools
import marshal
import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from crnn_jax.data.walk import File, composed

_FEW_FILES, _FEW_BYTES = 64, 2**22  # read at every start: a few milliseconds
_MANY_FILES, _MANY_BYTES = 20_000, 2**28  # read once for each key, before all are decoded
_THREADS = 8  # a network drive answers many at once


class Files(NamedTuple):
    """Files of a data set, in the order of its examples; paths are below `root`."""

    root: pathlib.Path
    files: list[File]


def key_of(parts: Iterable[Files]) -> str:
    """Returns 16 hex digits, others for other files: the name of what is cached of them.

    All bytes are too many to be read at each start. Names, sizes and times of change (mtime) are
    not enough: programs set times as they like, and so a copied or rewritten folder may have those
    of another. Inode numbers and times of the last change of status (ctime), which the kernel sets,
    tell such folders apart. They may agree in images of file systems (squashfs, ISO), which number
    files alike and hold times that their maker chose: so the root's path and the bytes of 64 files
    are in the key, too. Devices' numbers are not: a network drive or a container has another each
    time.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(os.fsencode(os.path.realpath(part.root)))
        # Half of JSON's time. Version 2 has no references, which would depend on what is shared.
        digest.update(marshal.dumps([tuple(file) for file in part.files], 2))
        digest.update(_sampled(part, _FEW_FILES, _FEW_BYTES))
    return digest.hexdigest()[:16]


def digest_of(part: Files) -> str:
    """Returns 16 hex digits of names, sizes and bytes, the same wherever the files lie.

    The bytes are all, up to 20,000 files and 256 MiB. With more files they are those of as many,
    evenly chosen; with more bytes, the beginning and the end of each file.
    """
    text = "\0".join(f"{file.path}\0{file.size}" for file in part.files)
    digest = hashlib.sha256(composed(text).encode("utf-8", "surrogateescape"))
    digest.update(_sampled(part, _MANY_FILES, _MANY_BYTES))
    return digest.hexdigest()[:16]


def _sampled(part: Files, num_files: int, num_bytes: int) -> bytes:
    """Returns a digest of `num_bytes` bytes of `num_files` files, evenly chosen."""
    root, files = part
    count = min(len(files), num_files)
    chosen = [files[i * len(files) // count] for i in range(count)]
    most = max(1, num_bytes // max(1, count))
    slices = [
        chosen[len(chosen) * i // _THREADS : len(chosen) * (i + 1) // _THREADS]
        for i in range(_THREADS)
    ]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda files: [_digest(root, file, most) for file in files], slices)
        return hashlib.sha256(b"".join(itertools.chain.from_iterable(found))).digest()


def _digest(root: pathlib.Path, file: File, most: int) -> bytes:
    """Returns the sha256 of a file's bytes, or of its beginning and end where it has more."""
    try:
        with open(os.path.join(root, file.path), "rb") as opened:
            if file.size <= most:
                return hashlib.sha256(opened.read()).digest()
            data = opened.read(most // 2)
            opened.seek(-(most // 2), os.SEEK_END)
            return hashlib.sha256(data + opened.read()).digest()
    except OSError:  # whoever needs it will say so
        return bytes(32)
