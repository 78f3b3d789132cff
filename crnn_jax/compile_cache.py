"""Compiled programs on disk, each with a checksum."""

import contextlib
import os
import pathlib
import sys
import uuid
import zlib

import jax
from jax._src import compilation_cache  # there is no public way to another kind of cache
from jax._src.lru_cache import LRUCache

from crnn_jax.disk import note_use


class SealedCache(LRUCache):
    """JAX's cache of programs, which also finds entries that are damaged or another program's.

    JAX takes an entry by its file's name alone. One that is truncated is compiled anew in every
    process, since JAX never writes over a file; one that is another program's ends the run in an
    error about its arguments, or runs. Here an entry ends with a checksum over its name and bytes;
    where that is wrong, the entry is removed, so that the program is compiled and kept again.
    """

    def get(self, key: str) -> bytes | None:
        """Returns the program's bytes; None where there are none, or damaged ones."""
        try:
            sealed = super().get(key)
        except FileNotFoundError:  # pruned in between
            return None
        if sealed is None:
            return None
        value = sealed[: -len(_seal(key, b""))]
        if sealed == value + _seal(key, value):
            note_use(self._file(key))
            return value
        path = self._file(key)
        print(f"compiled program '{path}' is damaged or old: compiling it again", file=sys.stderr)
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keeps the program's bytes, where the folder can be written; a reader sees all or none."""
        sealed = value + _seal(key, value)
        if self.eviction_enabled:
            super().put(key, sealed)
        elif os.access(str(self.path), os.W_OK):
            temporary = self._file(key).with_name(f".tmp-{uuid.uuid4().hex}")
            try:
                temporary.write_bytes(sealed)
                temporary.replace(self._file(key))
            finally:
                temporary.unlink(missing_ok=True)  # as of a full disk

    def _file(self, key: str) -> pathlib.Path:
        return pathlib.Path(str(self.path)) / f"{key}-cache"


def _seal(key: str, value: bytes) -> bytes:
    return zlib.crc32(value, zlib.crc32(key.encode())).to_bytes(4, "big")


def enable(folder: pathlib.Path) -> None:
    """Keeps compiled programs in `folder` from now on; those that took a moment to make.

    Where the folder is not there and cannot be made, nothing is kept; nor where its path is not in
    UTF-8, which XLA needs.
    """
    try:
        str(folder).encode()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, UnicodeEncodeError):
        return
    compilation_cache.LRUCache = SealedCache  # pyright: ignore[reportPrivateImportUsage]
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
