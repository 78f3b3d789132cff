"""Metrics and JSON files of a run."""

import contextlib
import json
import math
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any, Self, TextIO

import jax

from crnn_jax.disk import cannot_write, first_line
from crnn_jax.errors import UserError
from crnn_jax.trackers import Start, Tracker, close_tracker, start_tracker

_RECORDS = "trackers.json"  # in a workdir: tracker -> the name of this run's record


def plain(value: Any) -> Any:
    """Returns `value` as JSON can hold it: arrays as lists or numbers, NaN and inf as null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def parse_json(text: str) -> Any:
    """Returns the value that a text of JSON holds; None for "null" and for what is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # or brackets in brackets, without end
        return None


def write_json_atomically(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as JSON; a reader or a kill meets the old file or the new one, never a part.

    Raises:
      UserError: the file cannot be written.
    """
    _write_text_atomically(pathlib.Path(path), json.dumps(plain(value), indent=2) + "\n")


def _write_text_atomically(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


class Writers:
    """Writes metrics to WORKDIR/metrics.jsonl and a tracker's record; only the first process does.

    A run that goes on from `start_step` first drops the lines after it, which an interrupted run
    may have written after its last checkpoint, and a line that a kill has torn. The record goes on
    too: where a tracker cannot take back what those lines held, it is not written again. One that
    begins, at step 0, has a record of its own: what began there before may be of another config.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        tracker: str = "none",
        start_step: int = 0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Opens the files.

        Args:
          workdir: folder of the run.
          tracker: one of `crnn_jax.trackers.TRACKERS`.
          start_step: that the run goes on from.
          config: dotted key to value, for the tracker.

        Raises:
          UserError: a file cannot be written, or the tracker cannot start.
        """
        folder = pathlib.Path(workdir)
        self._path = folder / "metrics.jsonl"
        self._file: TextIO | None = None
        self._tracker: Tracker | None = None
        if jax.process_index() != 0:
            return
        dropped = _keep_lines(self._path, start_step)
        records = _read_records(folder) if start_step else {}
        start = Start(folder, start_step + 1, config or {}, records.get(tracker))
        self._tracker = start_tracker(tracker, start)
        self._tracked: set[tuple[int, str]] = set()
        if self._tracker is not None and not self._tracker.replaces:
            records[tracker] = self._tracker.record
            write_json_atomically(folder / _RECORDS, records)
            if start.record is not None:
                self._tracked = {(step, name) for step, names in dropped for name in names}
        try:
            self._file = self._path.open("a")
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends one line {"step": step, **values}; NaN and inf become null.

        Raises:
          UserError: the file cannot be written; or it was removed or replaced, as with the whole
            workdir, in which another run may be by now.
        """
        if self._file is None:
            return
        if not _is_at(self._path, self._file):
            raise UserError(
                f"expected '{self._path}' as this run has begun it, found it removed or replaced: "
                "start the run again, with another --workdir if one runs in this"
            )
        numbers = plain(values)
        try:
            self._file.write(json.dumps({"step": step, **numbers}) + "\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error
        if self._tracker is not None:
            self._track(self._tracker, step, numbers)

    def _track(self, tracker: Tracker, step: int, numbers: dict[str, Any]) -> None:
        new = {
            name: value
            for name, value in numbers.items()
            if isinstance(value, (int, float)) and (step, name) not in self._tracked
        }
        try:
            if new:
                tracker.write(step, new)
        except UserError:
            raise
        except Exception as error:  # another project's package: no reason to end a training
            self._tracker = None
            print(
                f"log.tracker has failed at step {step} ({type(error).__name__}: "
                f"{first_line(error)}); the run goes on without it, and metrics.jsonl has all",
                file=sys.stderr,
            )

    def close(self) -> None:
        """Closes the files."""
        # All was written, or `write` has told: closing tries again what failed.
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
        if self._tracker is not None:
            close_tracker(self._tracker)
            self._tracker = None


def _is_at(path: pathlib.Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
    except OSError:  # a file system that does not answer for a moment
        return True


def _read_records(folder: pathlib.Path) -> dict[str, str]:
    path = folder / _RECORDS
    found = parse_json(path.read_text(errors="replace")) if path.exists() else None
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: record for name, record in pairs if isinstance(record, str)}


def _keep_lines(path: pathlib.Path, start_step: int) -> list[tuple[int, list[str]]]:
    """Keeps the lines up to `start_step`; none for a run that starts at step 0.

    Returns:
      (step, names) of each line that was dropped, without torn ones.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise cannot_write(path, error) from error
    lines = text.splitlines()
    kept = [line + "\n" for line in lines if 0 < start_step >= _step_of(line)]
    if "".join(kept) != text:
        _write_text_atomically(path, "".join(kept))
    dropped = [line for line in lines if start_step < _step_of(line) < math.inf]
    return [(int(_step_of(line)), list(parse_json(line))) for line in dropped]


def _step_of(line: str) -> float:
    try:
        return float(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return math.inf
