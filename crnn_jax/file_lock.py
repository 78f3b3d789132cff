"""Locks on files, which end with the process that holds them, however it ends."""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import BinaryIO

from crnn_jax.errors import UserError

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # by some network file systems


def take(path: pathlib.Path, *, wait: bool) -> BinaryIO:
    """Returns the open file at `path`, made if needed and locked until it is closed.

    Raises:
      BlockingIOError: another holds it, without `wait`.
      OSError: the file cannot be opened, or its file system has no locks.
    """
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.fstat(file.fileno()).st_nlink:
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # its holder has removed it in between


def release(path: pathlib.Path, file: BinaryIO) -> None:
    """Removes the file that `take` returned, and unlocks it; not another that lies there by now."""
    with contextlib.suppress(OSError):
        if os.path.samestat(path.stat(), os.fstat(file.fileno())):
            path.unlink()
    file.close()


@contextlib.contextmanager
def only_run(workdir: str | os.PathLike[str]) -> Iterator[None]:
    """Holds the lock of a workdir, in one process for a run of several.

    It does nothing where the folder cannot be written, or its file system has no locks.

    Raises:
      UserError: another run holds it; says which.
    """
    folder = pathlib.Path(workdir).expanduser()
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = take(path, wait=False)
    except BlockingIOError:
        holder = ""
        with contextlib.suppress(OSError):
            holder = path.read_text(errors="replace").strip()
        raise UserError(
            f"expected workdir '{folder}' for this run alone, found {holder or 'another run'} "
            "in it: wait for its end, stop it, or choose another --workdir"
        ) from None
    except OSError as error:
        if folder.exists() and not folder.is_dir():
            raise UserError(
                f"--workdir expects a folder, found a file: '{folder}'; choose another"
            ) from None
        if error.errno in _UNSUPPORTED or not os.access(folder, os.W_OK):
            yield
            return
        raise UserError(f"'{path}' cannot be locked ({error.strerror})") from error
    try:
        with contextlib.suppress(OSError):  # a full disk is for the run's own files to tell
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            file.flush()
        yield
    finally:
        release(path, file)
