"""What a task is: all that a training has to know of what is learned."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import jax
import numpy as np
from ml_collections import ConfigDict

from crnn_jax.data.fields import Example, Fields
from crnn_jax.data.splits import Split
from crnn_jax.tasks.sums import Sums

Batch = dict[str, jax.Array]
Predictions = dict[str, Any]  # (B, ...) a name; on the host numpy arrays of one example


class Panels(NamedTuple):
    """The parts of a prediction's picture, for a figure with titles and a legend.

    Attributes:
      pictures: uint8 (H, W, 3) by its title, all of one size.
      legend: what the colours in them mean: (name, its red, green and blue in 0..255) by a number
        that orders them.
    """

    pictures: dict[str, np.ndarray]
    legend: dict[int, tuple[str, tuple[int, int, int]]]


class Rendered(NamedTuple):
    """A prediction for people.

    Attributes:
      text: what follows the name of the input on its line.
      facts: the same and more, as JSON can hold it.
      picture_HWC: uint8, or None where a line says it all.
      panels: what a figure shows in its place, or None.
    """

    text: str
    facts: dict[str, Any]
    picture_HWC: np.ndarray | None = None
    panels: Panels | None = None


Evidence = dict[str, np.ndarray]  # a split's: (N, ...) a name, see `Task.report`


class Report(NamedTuple):
    """What a report says of a split beyond its score, as JSON can hold it.

    Attributes:
      facts: figures of the whole split. "mistakes" among them is a list of the worst examples,
        each a dict with its "index" in the split.
      rows: a dict for each example that was read, with its "index".
    """

    facts: dict[str, Any]
    rows: list[dict[str, Any]]


class Task(Protocol):
    """What is learned. Plain data, so that two equal tasks share one compiled program.

    Attributes:
      output: what its models return, of those in `models.heads`.
      keys: config keys that this task reads and not every task does.
      score: names the figure of `summarize` that picks the best checkpoint and ends a run's last
        line; more is better.
      pixels: the field that the model reads.
    """

    output: ClassVar[type]
    keys: ClassVar[tuple[str, ...]]
    score: ClassVar[str]
    pixels: ClassVar[str]

    @classmethod
    def of(
        cls,
        config: ConfigDict,
        num_classes: int,
        train: Split | None = None,
        class_names: Sequence[str] = (),
    ) -> Self:
        """Returns the task of a validated config.

        Args:
          config: the run's.
          num_classes: K.
          train: the training split, from which a task may learn how common its classes are; None
            where nothing is trained.
          class_names: K, of a training.
        """
        ...

    @classmethod
    def fields(cls, input_shape: tuple[int, ...]) -> Fields:
        """Returns what it needs of a source whose pixels have `input_shape`."""
        ...

    def empty(self) -> Sums:
        """Returns the metrics of no example."""
        ...

    def prepare(
        self, batch: Batch, norm: dict[str, jax.Array], seed: jax.Array, *, train: bool
    ) -> tuple[jax.Array, Batch]:
        """Returns (the model's input, the batch with the loss's targets).

        Augmentation, normalisation and targets: one draw of randomness for all of them. Without
        `train` the batch may hold pixels alone.
        """
        ...

    def loss(self, output: Any, batch: Batch, *, train: bool) -> tuple[jax.Array, Sums]:
        """Returns (the weighted mean loss, float32, the metrics of the batch)."""
        ...

    def predictions(self, output: Any) -> Predictions:
        """Returns what is handed to the host for each example: probabilities, masks, boxes."""
        ...

    def as_output(self, predictions: Predictions) -> Any:
        """Returns an output whose `predictions` these are: what a score is computed of again."""
        ...

    def summarize(self, metrics: Any) -> dict[str, float | int]:
        """Returns {"loss", the score, ...} on the host; floats are logged, counts are whole."""
        ...

    def counts(self, summary: dict[str, Any]) -> str:
        """Returns of how many the score of a summary is, as "(9312/10000)"."""
        ...

    def views(self, pixels: jax.Array, tta: str) -> list[tuple[float, jax.Array]]:
        """Returns (weight, pixels) of each view of test-time augmentation."""
        ...

    def combine(self, outputs: Sequence[Any], weights: Sequence[float], tta: str) -> Any:
        """Returns one output of those of the views."""
        ...

    def render(
        self, prediction: Predictions, class_names: Sequence[str], example: Example
    ) -> Rendered:
        """Returns the prediction for one example for people; `example` has the pixels at least."""
        ...

    def report(
        self,
        found: Evidence,
        class_names: Sequence[str],
        held: Callable[[], Evidence] | None,
    ) -> Report:
        """Returns what a report of a split says.

        Args:
          found: each example of the split, in its order: the task's predictions by their names,
            its targets as "true_NAME", and "weight", 0 where an example could not be read.
          class_names: K.
          held: returns the same of the validation part, on which what is fitted to the model
            afterwards has to be fitted; None where there is no such part.
        """
        ...
