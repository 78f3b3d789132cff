"""Decoded splits as arrays, kept on disk so that each is decoded once."""

import concurrent.futures
import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import sys
import time
import uuid
import zlib

import numpy as np
from ml_collections import ConfigDict

from crnn_jax.data import reading
from crnn_jax.data.reading import Examples
from crnn_jax.data.splits import Split
from crnn_jax.disk import note_use
from crnn_jax.errors import UserError

MANIFEST = "manifest.json"  # its time of change is that of the entry's last use
_FORMAT = 3  # the folder's; another one is decoded again
_WEIGHT = "weight_N"  # beside the fields
STALE_SECONDS = 24 * 3600  # what a killed writer left is removed after this


def cache_dir(data_config: ConfigDict) -> pathlib.Path:
    """Returns the folder of the cache, which may not be there.

    It is `data_config.cache_dir`; where that is empty, $XDG_CACHE_HOME/crnn_jax, else
    ~/.cache/crnn_jax.
    """
    if data_config.cache_dir:
        return pathlib.Path(str(data_config.cache_dir)).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "crnn_jax"


def make_writable(folder: pathlib.Path) -> None:
    """Makes the folder, before something is computed that takes long and is to be kept there.

    Raises:
      UserError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise unwritable(folder, error) from None


def decoded(
    split: Split, *, cache_dir: pathlib.Path, fingerprint: str, skip_corrupt: bool
) -> Examples:
    """Returns all examples of `split`, from CACHE_DIR/decoded/FINGERPRINT-SPLIT if they lie there.

    A cache that is truncated, altered or another's is found by its checksums and name and decoded
    again; so is one with unreadable images without `skip_corrupt`, since they may have been
    repaired. Several processes may do this at once: the first whole folder stays. A subset is taken
    from its parent's cache.

    Raises:
      CorruptImageError: an image is unreadable, without `skip_corrupt`.
      UserError: the images differ in shape, or the folder cannot be written.
    """
    if split.parent is not None:
        whole = decoded(
            split.parent, cache_dir=cache_dir, fingerprint=fingerprint, skip_corrupt=skip_corrupt
        )
        index_N = split.index_N
        fields = {name: array[index_N] for name, array in whole.fields.items()}
        return Examples(fields, whole.weight_N[index_N])
    folder = cache_dir / "decoded" / entry_name(fingerprint, split)
    examples = _load(folder, split)
    if examples is None or (examples.num_corrupt and not skip_corrupt):
        make_writable(folder.parent)
        examples = _decode(split, skip_corrupt)
        try:
            _save(folder, examples, split)
        except OSError as error:
            raise unwritable(folder, error) from None
    if examples.num_corrupt == split.num_examples:
        raise UserError(
            f"split '{split.name}' expects readable images, found {split.num_examples} unreadable; "
            "check 'data.source'"
        )
    if examples.num_corrupt:
        print(
            f"skipped {examples.num_corrupt} unreadable of {split.num_examples} images "
            f"in split '{split.name}' (data.skip_corrupt)",
            file=sys.stderr,
        )
    return examples


def entry_name(fingerprint: str, split: Split) -> str:
    """Returns the name of what is cached of a split, safe in a path."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"{fingerprint}-{split.name}")


def unwritable(folder: pathlib.Path, error: OSError) -> UserError:
    """Returns the error to raise when the cache's `folder` cannot be written.

    NumPy turns a full disk into an error without a reason: "91968 requested and 65408 written".
    """
    reason = error.strerror or f"{error} (is the disk full?)"
    return UserError(
        f"the cache folder '{folder}' expects to be writable, found: {reason}; "
        "set 'data.cache_dir' to another folder"
    )


def _decode(split: Split, skip_corrupt: bool) -> Examples:
    """Reads the whole split; a line of progress every few seconds where it takes long."""
    examples = reading.unread(split.num_examples, split.fields)
    chunks = [range(i, min(i + 256, len(split))) for i in range(0, len(split), 256)]
    last_line = time.monotonic()
    # Threads: decoders release the interpreter lock, and readers need not be picklable.
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        futures = [
            pool.submit(reading.read_into, examples, split, chunk, skip_corrupt, chunk.start)
            for chunk in chunks
        ]
        try:
            for chunk, future in zip(chunks, futures, strict=True):
                future.result()
                if time.monotonic() - last_line > 2:
                    last_line = time.monotonic()
                    print(
                        f"decoding split '{split.name}', once: {chunk.stop}/{len(split)} images",
                        file=sys.stderr,
                    )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return examples


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data.cast("B")) if array.size else 0


def _load(folder: pathlib.Path, split: Split) -> Examples | None:
    """Returns what lies in `folder`; None where it is missing, of another format or damaged."""
    if not folder.is_dir():
        return None
    count, names = split.num_examples, (*split.fields, _WEIGHT)
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in names}
        good = manifest["format"] == _FORMAT and manifest["num_examples"] == count
        good = good and manifest["entry"] == folder.name  # or another's lies here
        good = good and all(
            arrays[name].shape == (count, *field.shape) and arrays[name].dtype == field.dtype
            for name, field in split.fields.items()
        )
        good = good and all(
            len(array) == count and _checksum(array) == manifest["crc32"][name]
            for name, array in arrays.items()
        )
    except Exception:  # a damaged header makes NumPy raise nearly anything
        good = False
    if not good:
        if not folder.exists():
            return None  # pruned in between
        print(f"decoded images in '{folder}' are damaged or old: decoding again", file=sys.stderr)
        return None
    note_use(folder / MANIFEST)
    weight_N = arrays.pop(_WEIGHT)
    return Examples(arrays, weight_N)


def _save(folder: pathlib.Path, examples: Examples, split: Split) -> None:
    """Writes to a folder of its own, then renames: a reader sees all or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent)
    temporary = folder.parent / f".tmp-{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        arrays = {**examples.fields, _WEIGHT: examples.weight_N}
        for name, array in arrays.items():
            with open(temporary / f"{name}.npy", "wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
        manifest = {
            "format": _FORMAT,
            "entry": folder.name,
            "num_examples": split.num_examples,
            "num_corrupt": examples.num_corrupt,
            "crc32": {name: _checksum(array) for name, array in arrays.items()},
        }
        with open(temporary / MANIFEST, "w") as file:
            json.dump(manifest, file)
            file.flush()
            os.fsync(file.fileno())
        _publish(temporary, folder, split)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # gone already where it was renamed


def _publish(temporary: pathlib.Path, folder: pathlib.Path, split: Split) -> None:
    """Renames `temporary` to `folder`, unless another writer's whole folder is there."""
    while True:  # what is there may be another's, or be pruned, at any moment
        try:
            os.rename(temporary, folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        found = _load(folder, split)
        if found is not None and found.num_corrupt <= _load_corrupt(temporary):
            return
        aside = folder.parent / f".tmp-{uuid.uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)


def _load_corrupt(folder: pathlib.Path) -> int:
    return json.loads((folder / MANIFEST).read_text())["num_corrupt"]


def _remove_stale(parent: pathlib.Path) -> None:
    for path in parent.glob(".tmp-*"):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # another process removed it first
