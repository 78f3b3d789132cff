"""What a run writes besides checkpoints: metrics, JSON files, and its progress for a person."""

import contextlib
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any, Self, TextIO

import jax
from ml_collections import ConfigDict

from crnn_jax.disk import cannot_write
from crnn_jax.events import Events


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
    """Writes metrics to WORKDIR/metrics.jsonl and TensorBoard events; only the first process does.

    A run that goes on from `start_step` first drops the lines after it, which an interrupted run
    may have written after its last checkpoint, and a line that a kill has torn.
    """

    def __init__(
        self, workdir: str | os.PathLike[str], *, tensorboard: bool, start_step: int = 0
    ) -> None:
        self._path = pathlib.Path(workdir) / "metrics.jsonl"
        self._file: TextIO | None = None
        self._events: Events | None = None
        if jax.process_index() != 0:
            return
        _keep_lines(self._path, start_step)
        try:
            self._file = self._path.open("a")
        except OSError as error:
            raise cannot_write(self._path, error) from error
        if tensorboard:
            self._events = Events(workdir, start_step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends one line {"step": step, **values}; NaN and inf become null.

        Raises:
          UserError: the file cannot be written.
        """
        if self._file is None:
            return
        numbers = plain(values)
        try:
            self._file.write(json.dumps({"step": step, **numbers}) + "\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error
        if self._events is not None:
            self._events.write(step, numbers)

    def close(self) -> None:
        """Closes the files."""
        for file in (self._file, self._events):
            # All was written, or `write` has told: closing tries again what failed.
            with contextlib.suppress(OSError):
                if file is not None:
                    file.close()


def _keep_lines(path: pathlib.Path, start_step: int) -> None:
    """Keeps the lines up to `start_step`; none for a run that starts at step 0."""
    if not path.exists():
        return
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise cannot_write(path, error) from error
    kept = [line + "\n" for line in text.splitlines() if 0 < start_step >= _step_of(line)]
    if "".join(kept) != text:
        _write_text_atomically(path, "".join(kept))


def _step_of(line: str) -> float:
    try:
        return float(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return math.inf


class Progress:
    """Shows how far a training is: a bar on a terminal, else a line every `log.seconds` seconds.

    Lines read `step 1200/5000  epoch 4.2/10  loss 0.812  accuracy 0.71  812 images/s  ETA 3:12`.
    """

    def __init__(
        self, total_steps: int, num_epochs: float, log: ConfigDict, stream: TextIO | None = None
    ) -> None:
        self.images_per_second = math.nan
        self._total_steps = total_steps
        self._num_epochs = num_epochs
        self._seconds: float = log.seconds
        self._stream = stream or sys.stdout
        self._metrics: dict[str, float] = {}
        self._first: tuple[int, float] | None = None  # step and time; after the compilation
        self._last_print = -math.inf
        self._bar: Any = None
        self._active = jax.process_index() == 0
        if self._active and self._stream.isatty():
            from tqdm import tqdm

            layout = "{percentage:3.0f}%|{bar:20}| {desc}"
            self._bar = tqdm(total=total_steps, bar_format=layout, file=self._stream)
            self._seconds = 0.2

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rate(self, images_per_second: float) -> None:
        """Sets the rate to show: of training alone, without compilation and evaluation."""
        self.images_per_second = images_per_second

    def metrics(self, values: Mapping[str, float]) -> None:
        """Sets the figures to show, the loss and scores; counts are passed over."""
        self._metrics = {k: v for k, v in values.items() if isinstance(v, float)}

    def step(self, step: int) -> None:
        """Says that `step` steps are done; shows it if it is time to."""
        now = time.monotonic()
        self._first = self._first or (step, now)
        if not self._active:
            return
        if now - self._last_print < self._seconds and step != self._total_steps:
            return
        self._last_print = now
        line = self.line(step, now - self._first[1])
        if self._bar is None:
            print(line, file=self._stream, flush=True)
        else:
            self._bar.n = step
            self._bar.set_description_str(line)

    def line(self, step: int, elapsed_seconds: float) -> str:
        """Returns the text to show `elapsed_seconds` after the first call of `step`."""
        epoch = step / self._total_steps * self._num_epochs
        parts = [f"step {step}/{self._total_steps}", f"epoch {epoch:.1f}/{self._num_epochs:.4g}"]
        parts += [f"{name} {value:.4g}" for name, value in self._metrics.items()]
        if math.isfinite(self.images_per_second):
            parts.append(f"{self.images_per_second:.0f} images/s")
        steps_timed = step - (self._first[0] if self._first else step)
        if steps_timed > 0:  # evaluation and checkpoints included, compilation not
            seconds = elapsed_seconds / steps_timed * (self._total_steps - step)
            parts.append(f"ETA {_clock_text(seconds)}")
        return "  ".join(parts)

    def close(self) -> None:
        """Leaves the bar as it is and frees the line."""
        if self._bar is not None:
            self._bar.close()


def _clock_text(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
