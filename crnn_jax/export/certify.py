"""Compares an exported file with the run that it was made of, on images of the run's data."""

import dataclasses
import sys
from typing import Any

import jax
import numpy as np

from crnn_jax.config import config_of_flat, flatten
from crnn_jax.errors import UserError
from crnn_jax.export.metadata import source_name
from crnn_jax.predictor import Predictor
from crnn_jax.run import Run
from crnn_jax.tasks.task import Predictions
from crnn_jax.train.experiment import build

LIMIT = 1e-4  # largest difference of a file that is kept
AIM = 1e-5  # what every model of the tests keeps to


@dataclasses.dataclass(frozen=True)
class Certificate:
    """How near a file is to the run.

    Attributes:
      largest_difference: that between probabilities; for whole numbers, as a mask, the share
        of those that differ.
      num_examples: that both were run on, all at once and the first one by itself.
      examples: what these were.
    """

    largest_difference: float
    num_examples: int
    examples: str

    def line(self) -> str:
        """Returns what is printed of it."""
        return (
            f"largest difference {self.largest_difference:.1e} over {self.num_examples} "
            f"{self.examples}"
        )


def in_float32(run: Run) -> Run:
    """Returns the run as a file computes it: in float32, with a program for any device."""
    flat = {**flatten(run.config), "precision": "float32"}
    if flat.get("model.implementation") == "fused":
        flat["model.implementation"] = "hoisted"
    old = run.experiment
    config = config_of_flat(flat)
    experiment = build(config, old.input_shape, len(run.class_names), old.num_train)
    return dataclasses.replace(run, experiment=experiment, _programs={})


def examples(run: Run, num_examples: int) -> tuple[np.ndarray, str]:
    """Returns (uint8 pixels, what they are): the test split's, or random ones without data.

    Args:
      run: whose data is read.
      num_examples: at most so many are read.
    """
    try:
        parts = []
        for batch in run.batches("test"):
            parts.append(batch[run.task.pixels][batch["weight_B"] > 0])
            if sum(map(len, parts)) >= num_examples:
                break
        pixels = np.concatenate(parts)[:num_examples]
        return pixels, f"examples of the test split of '{source_name(run.config.data.source)}'"
    except UserError as error:
        shape = (num_examples, *run.input_shape)
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        print(f"the data is not here: {error}", file=sys.stderr)  # its path stays out of the file
        return pixels, "random examples, since the data is not here"


def certify(run: Run, file: Predictor, num_examples: int) -> Certificate:
    """Returns the certificate of a file.

    Args:
      run: in float32.
      file: that was made of it.
      num_examples: above 0.
    """
    pixels, what = examples(run, num_examples)
    with jax.default_matmul_precision("highest"):  # as the file is: elsewhere than on a CPU
        expected = run.apply(pixels)
    found = file.apply(pixels)
    alone = file.apply(pixels[:1])
    first = {name: array[:1] for name, array in expected.items()}
    largest = max(difference(expected, found), difference(first, alone))
    return Certificate(largest, len(pixels), what)


def difference(expected: Predictions, found: Predictions) -> float:
    """Returns the largest difference; infinite where a shape or a number is another, or is NaN."""
    largest = 0.0
    for name, array in expected.items():
        other = found.get(name)
        if other is None or other.shape != array.shape:
            return float("inf")
        if array.dtype.kind == "f":
            distance = np.max(np.abs(array.astype(np.float64) - other), initial=0.0)
        else:
            distance = np.mean(array != other)
        largest = max(largest, float("inf") if np.isnan(distance) else float(distance))
    return largest


def check(certificate: Certificate, path: Any) -> None:
    """Checks that the file may be kept; a line on stderr says where it is worse than is usual.

    Raises:
      UserError: it differs by more than `LIMIT`.
    """
    if not certificate.largest_difference <= LIMIT:
        raise UserError(
            f"'{path}' is expected to differ from the run by at most {LIMIT}, found "
            f"{certificate.line()}: the file is not kept"
        )
    if certificate.largest_difference > AIM:
        print(
            f"warning: expected a difference of at most {AIM:.0e}, found "
            f"{certificate.largest_difference:.1e}: the file is kept; --evaluate says its score",
            file=sys.stderr,
        )
