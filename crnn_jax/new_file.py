"""A file that a command is asked for by --out: new, and whole or not there."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from crnn_jax.errors import UserError


@contextlib.contextmanager
def new_file(path: pathlib.Path, suffix: str) -> Iterator[pathlib.Path]:
    """Makes the file that is written in the block under another name, if the block ends well.

    Args:
      path: that the file gets.
      suffix: the end of its name, as "onnx".

    Raises:
      UserError: a name that ends otherwise, a file that is there, or a folder that cannot be
        written.
    """
    if path.suffix != f".{suffix}":
        raise UserError(f"--out expects a name that ends with .{suffix}, found '{path}'")
    if path.exists():
        raise UserError(f"--out expects a file that is not there yet, found '{path}': remove it")
    with writing(path):
        folder = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix=".export_"))
    try:
        yield folder / path.name
        with writing(path):
            usual = folder / "usual"  # safetensors makes files that their owner alone can read
            usual.touch()
            os.chmod(folder / path.name, usual.stat().st_mode)
            os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns an error of the file system into one line, inside the block.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"'{path}' cannot be written ({reason}): choose another --out") from error
