"""What can be asked of anything that was trained, be it a run or a file that was exported."""

import abc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from crnn_jax.checksums import not_finite
from crnn_jax.data import record
from crnn_jax.data.dataset import Dataset, load_dataset
from crnn_jax.data.inputs import Inputs, read_batches
from crnn_jax.data.views import make_view
from crnn_jax.distributed import check_same_on_all, say
from crnn_jax.errors import UserError
from crnn_jax.tasks import Task, check_fields
from crnn_jax.tasks.task import Predictions
from crnn_jax.train.resolve import check_same_programs, run_mesh
from crnn_jax.train.watchdog import watched

# Examples in a call of a program: it is compiled for each of these numbers that is needed.
SIZES = (1, 4, 16, 64)
BATCH = SIZES[-1]


class Predictor(abc.ABC):
    """Something trained.

    Attributes:
      class_names: K names that it was trained on.
      trained_on: what dataset.json says of the data.
    """

    class_names: tuple[str, ...]
    trained_on: dict[str, Any]

    @property
    @abc.abstractmethod
    def config(self) -> ConfigDict:
        """The config of the training; its mesh is that of this process."""

    @property
    @abc.abstractmethod
    def task(self) -> Task:
        """What it was trained for."""

    @property
    @abc.abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """(H, W, C) of the images that it reads, (F, H, W, C) of clips."""

    @property
    @abc.abstractmethod
    def described(self) -> str:
        """What an error calls it, as "run 'runs/a'"."""

    @abc.abstractmethod
    def apply(self, pixels: np.ndarray) -> Predictions:
        """Returns the task's predictions, numpy arrays (B, ...) by name.

        Args:
          pixels: uint8 (B, *input_shape), any B.

        Raises:
          UserError: a prediction is not finite.
        """

    def predict(self, inputs: Inputs) -> list[dict[str, Any]]:
        """Returns a prediction for each input, in their order.

        For a classification it is {"class": name, "probability": 0..1, "top": the likeliest five,
        as {"class", "probability"}}; for a segmentation {"shares": {name: 0..1}, "mask": uint8
        (H, W), "picture": uint8 (H, W, 3)}. For a file it has its "path".

        Args:
          inputs: a file, a folder, an image (PIL, or uint8 (H, W), (H, W, C)) or a list of these,
            of any sizes: each is read as an evaluation reads its images; or uint8
            (B, *input_shape), which is taken as it is. For clips: videos, or such an array.

        Raises:
          UserError: an input of another kind, an unreadable file, or a folder without any.
        """
        view, found = make_view(self.config), []
        for batch in read_batches(inputs, self.input_shape, view, BATCH):
            predictions = self.apply(batch.pixels)
            for row, path in enumerate(batch.paths):
                one = {name: array[row] for name, array in predictions.items()}
                example = {self.task.pixels: batch.pixels[row]}
                rendered = self.task.render(one, self.class_names, example)
                facts: dict[str, Any] = {} if path is None else {"path": path}
                if rendered.picture_HWC is not None:
                    facts["picture"] = rendered.picture_HWC
                found.append({**facts, **one, **rendered.facts})
        return found

    def probabilities(self, inputs: Inputs) -> np.ndarray:
        """Returns the class probabilities, float32 (B, K), in the order of `class_names`.

        Args:
          inputs: as `predict` takes them.

        Raises:
          UserError: as `predict`, or what was trained has no class for a whole input.
        """
        parts = [np.zeros((0, len(self.class_names)), np.float32)]
        for batch in read_batches(inputs, self.input_shape, make_view(self.config), BATCH):
            found = self.apply(batch.pixels)
            if "probability" not in found:
                raise UserError(
                    f"{self.described} is of task '{self.config.task}', which has no probabilities "
                    "of classes for a whole input: use predict"
                )
            parts.append(found["probability"])
        return np.concatenate(parts)

    def features(self, inputs: Inputs, layer: str | None = None) -> np.ndarray:
        """Returns what a layer of the model makes of the inputs, an array (B, ...).

        Args:
          inputs: as `predict` takes them.
          layer: in the model, as "trunk", "trunk/conv_0_0" or "recurrent/layer_0"; None: what the
            head reads.

        Raises:
          UserError: as `predict`; no such layer, or a file that has none to look into.
        """
        del inputs, layer
        raise UserError(
            f"{self.described} is a program, whose layers cannot be looked into: load the run, or "
            "export it with --format=safetensors"
        )

    def evaluate(self, split: str) -> dict[str, Any]:
        """Returns the summary of a split of the data: the task's score, "loss", counts.

        Raises:
          UserError: see `dataset`; no such split.
        """
        return summary(self.task, self.apply, self.batches(split))

    def dataset(self) -> Dataset:
        """Returns the data of the training, as it lies there now, with the classes of the training.

        Where it is not that of the training, a line on stderr says in what.

        Raises:
          UserError: it is missing, has another shape, or none of the classes; or the processes of a
            run have different data.
        """
        dataset = load_dataset(self.config)
        check_fields(self.config, dataset.source)
        shape, where = dataset.source.input_shape, self.config.data.source
        if shape != self.input_shape:
            raise UserError(
                f"{self.described} expects data of shape {self.input_shape}, found {shape} in "
                f"'{where}': see 'data.source', or name other data by --data_source"
            )
        facts = dataset.describe()
        check_same_on_all(facts)
        check_same_programs(self.config)
        if different := record.differences(self.trained_on, facts):
            unknown = set(facts["class_names"]) - set(self.class_names)
            left_out = "; examples of a new class are left out" if unknown else ""
            text = f"'{where}' is not as in training: {'; '.join(different)}{left_out}"
            say(text, sys.stderr)
        return dataset.with_classes(self.class_names)

    def batches(self, split: str) -> Iterator[dict[str, np.ndarray]]:
        """Yields a split's fields and "weight_B", 0 where there is no example, batch by batch.

        Raises:
          UserError: as `evaluate`.
        """
        pipeline = self.dataset().pipeline(split, BATCH, run_mesh(self.config))
        assemble = jax.jit(pipeline.eval_assemble)
        seconds = self.config.mesh.stuck_seconds
        for inputs, first_index in watched(pipeline.eval_inputs(), seconds):
            yield jax.device_get(assemble(inputs, jnp.uint32(first_index)))


def summary(
    task: Task,
    apply: Callable[[np.ndarray], Predictions],
    batches: Iterator[dict[str, np.ndarray]],
) -> dict[str, Any]:
    """Returns the task's summary of what `apply` predicts for batches."""
    totals = task.empty()
    for batch in batches:
        output = task.as_output(apply(batch[task.pixels]))
        arrays = {name: jnp.asarray(array) for name, array in batch.items()}
        totals = totals.merge(task.loss(output, arrays, train=False)[1])
    return task.summarize(totals)


def check_finite(predictions: Predictions, described: str, advice: str) -> None:
    """Checks what a program has computed.

    Args:
      predictions: numpy arrays by name.
      described: what an error calls the program, as "run 'runs/a'".
      advice: what an error says to do.

    Raises:
      UserError: a prediction is NaN or inf.
    """
    if (name := not_finite(predictions)) is not None:
        raise UserError(
            f"expected finite predictions of {described}, found a {name} of NaN: {advice}"
        )


def in_batches(program: Callable[[np.ndarray], Predictions], pixels: np.ndarray) -> Predictions:
    """Returns what the program returns for at most BATCH examples at a time, all of them joined.

    Args:
      program: takes uint8 (B, ...) with B one of `SIZES`; what is left is filled up with zeros.
      pixels: uint8 (B, ...), any B above 0.
    """
    parts = []
    for first in range(0, len(pixels), BATCH):
        part = pixels[first : first + BATCH]
        size = next(size for size in SIZES if size >= len(part))
        full = np.zeros((size, *part.shape[1:]), np.uint8)
        full[: len(part)] = part
        found = program(full)
        parts.append({name: np.asarray(array)[: len(part)] for name, array in found.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
