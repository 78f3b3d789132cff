"""How far a training is, how fast it is now, and how long it will take, for a person."""

import collections
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Self, TextIO

import jax
from ml_collections import ConfigDict

from crnn_jax.flops import TRAIN_OVER_FORWARD
from crnn_jax.peak_memory import peak_memory
from crnn_jax.train.clock import Clock

_WINDOW = 10.0  # seconds of training that the rate is taken over
_SAMPLES = 50  # in a window, at most


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run does up to its end.

    Attributes:
      total_steps: steps of the run.
      batch_size: examples of a step.
      num_train: examples of an epoch.
      eval_every: steps between evaluations of the validation part; the last step has one too.
      save_every: steps between checkpoints; the last step has one too.
      num_validation: examples of the validation part; 0 without one.
      num_final: examples that are evaluated after the last step; one that is evaluated in several
        views counts as often.
    """

    total_steps: int
    batch_size: int
    num_train: int
    eval_every: int
    save_every: int
    num_validation: int
    num_final: int

    def left(self, step: int, every: int) -> int:
        """Returns how often something is still done that is done `every` steps and at the end."""
        if step >= self.total_steps:
            return 0
        at_the_end = self.total_steps % every != 0
        return self.total_steps // every - step // every + at_the_end


class RecentRate:
    """Steps a second over the last seconds of training.

    The first interval, which a slow start may have stretched, counts only until there is a second.
    """

    def __init__(self, window: float = _WINDOW) -> None:
        self._window = window
        self._samples: collections.deque[tuple[int, float]] = collections.deque()
        self._first = True

    def add(self, step: int, seconds: float) -> None:
        """Says that `seconds` of training had passed when `step` was reached."""
        samples = self._samples
        if len(samples) > 2 and seconds - samples[-2][1] < self._window / _SAMPLES:
            samples.pop()
        samples.append((step, seconds))
        if self._first and len(samples) > 2:
            samples.popleft()
            self._first = False
        while len(samples) > 2 and samples[1][1] <= seconds - self._window:
            samples.popleft()

    def read(self) -> float:
        """Returns steps a second; NaN before the second step."""
        if len(self._samples) < 2:
            return math.nan
        (first_step, start), (last_step, end) = self._samples[0], self._samples[-1]
        return (last_step - first_step) / max(end - start, 1e-9)


class Progress:
    """Shows how far a training is: a bar on a terminal, else a line every `log.seconds` seconds.

    Lines read `step 1200/5000  epoch 4.2/10  loss 0.812  accuracy 0.71  812 images/s  peak 1.3 GB
    ETA 3:12`. The rate is that of the last seconds. The memory is that of the device that used
    most, on a CPU this process's. The remaining time is that of the steps at this rate, of the
    evaluations, the last one included, and of the checkpoints.
    """

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        log: ConfigDict,
        stream: TextIO | None = None,
        memory: Callable[[], Mapping[str, int | None]] = peak_memory,
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._seconds: float = log.seconds
        self._stream = stream or sys.stdout
        self._memory = memory
        self._rate = RecentRate()
        self._metrics: dict[str, float] = {}
        self._spent = {name: clock.read(name) for name in ("evaluation", "checkpoint")}
        self._evaluations: list[float] = []  # seconds an example, of each so far
        self._checkpoint = 0.0  # seconds of the last one
        self._last_print = -math.inf
        self._bar: Any = None
        self._active = jax.process_index() == 0
        if self._active and self._stream.isatty():
            from tqdm import tqdm

            layout = "{percentage:3.0f}%|{bar:20}| {desc}"
            self._bar = tqdm(total=plan.total_steps, bar_format=layout, file=self._stream)
            self._seconds = 0.2

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def images_per_second(self) -> float:
        """Rate of the last seconds of training without evaluation and checkpoints; NaN at first."""
        return self._rate.read() * self._plan.batch_size

    def metrics(self, values: Mapping[str, float]) -> None:
        """Sets the figures to show, the loss and scores; counts are passed over."""
        self._metrics = {k: v for k, v in values.items() if isinstance(v, float)}

    def step(self, step: int) -> None:
        """Says that `step` is the newest step, in each call as far from done; may show it."""
        self._rate.add(step, self._clock.read("train"))
        self._look_at_pauses()
        if not self._active:
            return
        now = time.monotonic()
        if now - self._last_print < self._seconds and step != self._plan.total_steps:
            return
        self._last_print = now
        line = self.line(step)
        if self._bar is None:
            print(line, file=self._stream, flush=True)
        else:
            self._bar.n = step
            self._bar.set_description_str(line)

    def _look_at_pauses(self) -> None:
        """Takes notice of an evaluation or a checkpoint since the last step."""
        for name, before in self._spent.items():
            spent = self._clock.read(name)
            if (seconds := spent - before) <= 0:
                continue
            self._spent[name] = spent
            if name == "checkpoint":
                self._checkpoint = seconds
            elif self._plan.num_validation:
                self._evaluations.append(seconds / self._plan.num_validation)

    def seconds_left(self, step: int) -> float:
        """Returns the seconds from `step` to the end of the run; NaN before there is a rate."""
        plan, rate = self._plan, self._rate.read()
        num_evaluated = plan.left(step, plan.eval_every) * plan.num_validation + plan.num_final
        # The first evaluation has a compilation in it: so the shorter one of two. Before there are
        # two, an example's is guessed to be the forward part of a training step.
        guess = 1 / (rate * plan.batch_size * TRAIN_OVER_FORWARD)
        an_example = min([*self._evaluations[-2:], guess][:2])
        return (
            (plan.total_steps - step) / rate
            + num_evaluated * an_example
            + plan.left(step, plan.save_every) * self._checkpoint
        )

    def line(self, step: int) -> str:
        """Returns the text to show at `step`."""
        plan = self._plan
        epochs = plan.batch_size / plan.num_train
        parts = [
            f"step {step}/{plan.total_steps}",
            f"epoch {step * epochs:.1f}/{plan.total_steps * epochs:.4g}",
        ]
        parts += [f"{name} {value:.4g}" for name, value in self._metrics.items()]
        if math.isfinite(rate := self.images_per_second):
            parts.append(f"{rate:.0f} images/s")
        memory = self._memory()
        used = memory["host"] if memory["device"] is None else memory["device"]
        parts.append(f"peak {(used or 0) / 1e9:.1f} GB")
        if math.isfinite(seconds := self.seconds_left(step)):
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
