"""What went wrong with a file, said in one line, and when one was last used."""

import contextlib
import errno
import os
import pathlib
import shutil

from crnn_jax.errors import UserError


def first_line(error: BaseException) -> str:
    """Returns the first line of the error's message, at most 200 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def note_use(path: str | os.PathLike[str]) -> None:
    """Makes now the file's time of change, if that is allowed; many disks keep no time of use."""
    with contextlib.suppress(OSError):
        os.utime(path)


def cannot_write(path: str | os.PathLike[str], error: BaseException) -> UserError:
    """Returns the error to raise when `path` cannot be written."""
    reason = error.strerror if isinstance(error, OSError) else None
    return UserError(
        f"'{path}' cannot be written ({reason or first_line(error)}): make room or make it "
        "writable, or choose another --workdir"
    )


def explain_save_error(
    error: Exception, directory: pathlib.Path, what: str, num_bytes: int
) -> Exception:
    """Returns the `UserError` for a full or unwritable disk; another error as it is.

    Args:
      error: from a library that may have turned an OSError into another type.
      directory: where `what`, of `num_bytes`, was to be written; what is left of it is deleted.
      what: such as "checkpoint 100".
      num_bytes: that had to be written.
    """
    causes = [error, error.__cause__, error.__context__]
    text = " ".join(str(cause) for cause in causes if cause)
    if any(os.strerror(code) in text for code in (errno.ENOSPC, errno.EDQUOT)):
        free = shutil.disk_usage(directory).free / 1e6
        needed = num_bytes / 1e6
        return UserError(
            f"the disk is full: {what} needs {needed:.1f} MB in '{directory}', where {free:.1f} MB "
            f"are free: make room for {max(needed - free, 0.1):.1f} MB more, or choose another "
            "--workdir; earlier checkpoints are kept"
        )
    if any(isinstance(cause, OSError) for cause in causes) or "os_error_code" in text:
        return cannot_write(directory, error)
    return error
