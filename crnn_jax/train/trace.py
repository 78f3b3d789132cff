"""A profiler's trace of a few steps, for `log.profile` and --profile."""

import pathlib
from collections.abc import Callable
from typing import Any, Self

import jax

from crnn_jax.config import profile_window
from crnn_jax.train.clock import Clock


class StepTrace:
    """Traces the steps of a window into WORKDIR/profile; a context manager that ends the trace.

    Steps are counted from the run's start or resume. With several steps a program, those of every
    program that has a step of the window are traced.
    """

    def __init__(self, window: str, workdir: pathlib.Path, start_step: int, clock: Clock) -> None:
        self._window = profile_window(window)
        self._folder = workdir / "profile"
        self._start_step = start_step
        self._clock = clock
        self._running = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._running:
            self._stop()
        elif self._window is not None and kind is None:
            print(f"no trace: the run ended before step {self._window[0]} of log.profile")

    def run(self, step: int, program: Callable[..., Any], *args: Any) -> Any:
        """Returns program(*args), whose last step is `step`."""
        if self._window is None:
            return program(*args)
        (first, last), count = self._window, step - self._start_step
        if not self._running and count >= first:
            jax.block_until_ready(args)  # the step before is not to be traced
            with self._clock.phase("profile"):
                # The second format opens in a browser, without an installation.
                jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
            self._running = True
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            result = program(*args)
        if count >= last:
            jax.block_until_ready(result)
            self._stop()
        return result

    def _stop(self) -> None:
        with self._clock.phase("profile"):
            jax.profiler.stop_trace()
        self._running, self._window = False, None
        print(f"trace of the steps of log.profile: {self._folder}", flush=True)
