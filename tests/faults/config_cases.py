"""Random configs: each is refused in one line, or its training step can be traced, in seconds."""

import random
import signal
import time
from typing import Any

import jax

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


def draw(random_of: random.Random, sensible: float) -> tuple[Any, list[tuple[str, str]]]:
    """Returns a default config and changes to it, a share `sensible` of them of the right type."""
    model = random_of.choice(list(cfg.MODEL_DEFAULTS))
    keys = cfg.keys_of(model)
    changes = []
    for _ in range(random_of.randint(1, 3)):
        name = random_of.choice([*keys, "no.such", "optim", "", "model.", "."])
        texts = likely(keys[name]) if name in keys and random_of.random() < sensible else TEXTS
        changes.append((name, random_of.choice(texts)))
    return cfg.default_config(model), changes


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


def run(count: int, seed: int, most_traced: int) -> dict[str, int]:
    """Returns counts of `count` cases, of which the first valid ones are traced.

    Raises:
      AssertionError: a message of more than a line, or a step that takes too long.
    """
    counts = {"cases": count, "refused": 0, "traced": 0, "refused by shape": 0}

    def too_long(*_: object) -> None:
        raise AssertionError(f"more than {SECONDS:.0f} s of the processor")

    before = signal.signal(signal.SIGVTALRM, too_long)
    try:
        for number in range(count):
            random_of = random.Random(seed * 1_000_003 + number)
            config, changes = draw(random_of, 0.9 if number % 2 else 0.5)
            shape = random_of.choice(SHAPES)
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            start = time.process_time()
            try:
                message = mistake(config, changes)
                if message is not None:
                    counts["refused"] += 1
                elif counts["traced"] < most_traced and classifies(config):
                    counts["traced"] += 1
                    message = trace_step(config, shape)
                    counts["refused by shape"] += message is not None
                assert message is None or "\n" not in message
                assert message is None or len(message) < 700
            except Exception as error:
                error.add_note(f"case {number} of seed {seed}: {changes} on {shape}")
                error.add_note(f"after {time.process_time() - start:.1f} s")
                raise
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)
    return counts
