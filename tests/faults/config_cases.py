"""Random configs: each is refused in one line, or its training step can be traced, in seconds.

Hypothesis draws them, and shows the smallest that fails.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import hypothesis
import jax
from hypothesis import strategies as st

from crnn_jax import config as cfg
from crnn_jax.config.key import Key
from crnn_jax.errors import UserError
from crnn_jax.models import CLASSIFIERS
from crnn_jax.train.experiment import build
from crnn_jax.validation import validate

SECONDS = 20.0  # of the processor, to trace one step
SHAPES = ((8, 8, 1), (32, 32, 3), (16, 24, 3))
_WORDS = """
1 0 -1 3 2.5 0.5 1e-3 1e999 -1e999 nan inf None True false () (1,) (1,2,3) [1,2] (0,) ('a',) {}
{[]:1} 1if 0x 0777 2**31 2147483648 4294967296 adam gru crnn 3:9 9:3 none random scan fused
streaming resident paper ema validation bfloat16 associative mingru
"""
TEXTS = [
    *_WORDS.split(),
    *("", " ", "5 steps", "1e999 steps", "-1 epochs", "1e400 examples", "\0", "a\nb", "é"),
    *("9" * 309, "9" * 5000, "(" * 500),
]


def likely(key: Key) -> list[str]:
    """Returns texts that have the key's type, most of them valid."""
    edges = (key.within.low, key.within.high) if key.within is not None else ()
    return [str(value) for value in (key.default, *edges, *key.valid_choices())]


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """Draws a model's name and changes to its default config, most of them of the right type."""
    model = draw(st.sampled_from(list(cfg.MODEL_DEFAULTS)))
    keys = cfg.keys_of(model)
    changes = []
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([*keys, "no.such", "optim", "", "model.", "."]))
        if name in keys and draw(st.integers(0, 9)) < 7:
            values = st.sampled_from(likely(keys[name]))
        else:
            values = st.sampled_from(TEXTS) | st.integers().map(str) | st.floats().map(str)
            values |= st.text(max_size=20)
        changes.append((name, draw(values)))
    return model, changes


def mistake(config: Any, changes: list[tuple[str, str]]) -> str | None:
    """Returns the message of a UserError; None for a valid config; raises what else there is."""
    try:
        for name, text in changes:
            cfg.override(config, name, text)
        validate(config)
    except UserError as error:
        return str(error)
    return None


def trace_step(config: Any, shape: tuple[int, int, int]) -> str | None:
    """Returns the message of a UserError; None once the step is traced; raises what else there is.

    A run of images of `shape` in 10 classes.
    """
    try:
        experiment = build(config, shape, 10, 1000)
        batch_size, task = experiment.config.batch_size, experiment.task
        fields = task.fields(shape)
        batch = {
            name: jax.ShapeDtypeStruct((batch_size, *field.shape), field.dtype)
            for name, field in fields.items()
        }
        for name, dtype in (("epoch_B", "int32"), ("example_B", "int32"), ("weight_B", "float32")):
            batch[name] = jax.ShapeDtypeStruct((batch_size,), dtype)
        step = experiment.train_step(lambda inputs, step: inputs)
        jax.eval_shape(step, experiment.abstract_state(), jax.eval_shape(task.empty), batch)
    except UserError as error:
        return str(error)
    return None


def classifies(config: Any) -> bool:
    """Returns whether a valid config is one of images and their classes."""
    return config.task == "classification" and config.model.name in CLASSIFIERS


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises an AssertionError in a block that takes longer, in the processor's time."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"more than {seconds:.0f} s of the processor")

    before = signal.signal(signal.SIGVTALRM, too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def is_line(message: str | None) -> bool:
    """Returns whether a message, if there is one, can be read on one line."""
    return message is None or ("\n" not in message and len(message) < 700)


def run(count: int, seed: int, most_traced: int) -> dict[str, int]:
    """Returns counts of `count` cases, of which the first valid ones are traced.

    Raises:
      AssertionError: a message of more than a line, or a step that takes too long.
    """
    counts = {"cases": 0, "refused": 0, "traced": 0, "refused by shape": 0}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    @hypothesis.given(cases(), st.sampled_from(SHAPES))
    def check(case: tuple[str, list[tuple[str, str]]], shape: tuple[int, int, int]) -> None:
        model, changes = case
        config = cfg.default_config(model)
        counts["cases"] += 1
        with at_most(SECONDS):
            message = mistake(config, changes)
            assert is_line(message), message
            counts["refused"] += message is not None
            if message is None and counts["traced"] < most_traced and classifies(config):
                message = trace_step(config, shape)
                assert is_line(message), message
                counts["traced"] += 1  # none that fails, which is traced again as it shrinks
                counts["refused by shape"] += message is not None

    check()
    return counts
