"""Opens a run that was trained: its config, model and weights, and what they say of new inputs."""

import dataclasses
import functools
import pathlib
import unicodedata
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.checksums import not_finite
from crnn_jax.compiler import compiler_options
from crnn_jax.data.dataset import Dataset, load_dataset
from crnn_jax.errors import UserError
from crnn_jax.tasks import check_fields
from crnn_jax.tasks.task import Predictions
from crnn_jax.train.evaluator import make_evaluator
from crnn_jax.train.experiment import Experiment, build, enable_compile_cache
from crnn_jax.train.restore import restore
from crnn_jax.train.state import TrainState, variables
from crnn_jax.train.step import apply_views
from crnn_jax.workdir import load_config, read_dataset

_BATCH = 64  # examples in one call of the program


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
      workdir: where it lies.
      experiment: its model, task and config.
      state: of the chosen checkpoint.
      class_names: K names that it was trained on.
    """

    workdir: pathlib.Path
    experiment: Experiment
    state: TrainState
    class_names: tuple[str, ...]
    _programs: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def config(self) -> ConfigDict:
        """The config of the training; its mesh is that of this process."""
        return self.experiment.config

    @functools.cached_property
    def weights(self) -> dict[str, Any]:
        """The model's variables: the last ones or the average, as `config.eval.weights` says."""
        return variables(self.state, self.config.eval.weights, self.config.optim.ema_decay)

    def prepare(self, pixels: jax.Array) -> jax.Array:
        """Returns the model's input of uint8 pixels (B, *input_shape), as in an evaluation."""
        task, state = self.experiment.task, self.state
        return task.prepare({task.pixels: pixels}, state.norm, state.seed, train=False)[0]

    def apply(self, pixels: np.ndarray, tta: str = "none") -> Predictions:
        """Returns the task's predictions, numpy arrays (B, ...) by name.

        Args:
          pixels: uint8 (B, *input_shape), any B.
          tta: test-time augmentation.

        Raises:
          UserError: a prediction is not finite.
        """
        if tta not in self._programs:
            self._programs[tta] = self._compiled(tta)
        parts = []
        for first in range(0, len(pixels), _BATCH):
            part = pixels[first : first + _BATCH]
            full = np.zeros((_BATCH, *part.shape[1:]), np.uint8)  # one compiled shape
            full[: len(part)] = part
            found = jax.device_get(self._programs[tta](self.weights, self.state.norm, full))
            parts.append({name: array[: len(part)] for name, array in found.items()})
            if (name := not_finite(parts[-1])) is not None:
                raise UserError(
                    f"expected finite predictions of run '{self.workdir}', found a {name} of NaN: "
                    "choose an earlier checkpoint with --step, or train with a lower "
                    "'optim.learning_rate'"
                )
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def dataset(self) -> Dataset:
        """Returns the data of the run, as it lies there now.

        Raises:
          UserError: it is missing, or its classes or shape are not those of the training.
        """
        dataset = load_dataset(self.config)
        check_fields(self.config, dataset.source)
        names, shape = dataset.source.class_names, dataset.source.input_shape
        if names != self.class_names or shape != self.experiment.input_shape:
            raise UserError(
                f"run '{self.workdir}' expects data of the classes {_few(self.class_names)} and of "
                f"shape {self.experiment.input_shape}, found {_few(names)} and {shape} in "
                f"'{self.config.data.source}'"
            )
        return dataset

    def evaluate(self, split: str, tta: str = "none") -> dict[str, Any]:
        """Returns the summary of a split: the task's score, "loss", counts."""
        pipeline = self.dataset().pipeline(split, self.config.eval.batch_size, self.experiment.mesh)
        return make_evaluator(self.experiment, pipeline, tta)(self.state)

    def _compiled(self, tta: str) -> Callable[..., Predictions]:
        model, task = self.experiment.model, self.experiment.task

        def predict(weights: Any, norm: Any, pixels: jax.Array) -> Predictions:
            batch = {task.pixels: pixels}
            ready, _ = task.prepare(batch, norm, jnp.uint32(0), train=False)
            return task.predictions(apply_views(model, task, weights, ready, tta))

        return jax.jit(predict, compiler_options=compiler_options(onednn=False))


def open_run(workdir: str | pathlib.Path, step: int | None = None, *, num_devices: int = 1) -> Run:
    """Returns the run in `workdir` with its checkpoint of `step`, the newest good one for None.

    Args:
      workdir: of a run of crnn_jax.main.
      step: of a checkpoint.
      num_devices: over which an evaluation is split, whatever the training had; -1: all.

    Raises:
      UserError: no run there, no such checkpoint, or a damaged one.
    """
    folder = pathlib.Path(workdir).expanduser()
    config, facts = load_config(folder), read_dataset(folder)
    config.mesh.update(data=num_devices, fsdp=1, model=1)
    enable_compile_cache(config)
    # Sources name classes in this form; a run of an older version may hold the other.
    names = tuple(unicodedata.normalize("NFC", name) for name in facts["class_names"])
    experiment = build(config, facts["input_shape"], len(names), facts["num_train"])
    state = restore_state(folder, experiment, step)
    return Run(folder, experiment, state, names)


def restore_state(workdir: pathlib.Path, experiment: Experiment, step: int | None) -> TrainState:
    """Returns the state of a run's checkpoint of `step`, or of the newest good one for None.

    Raises:
      UserError: as `train.restore.restore`, or the run has no checkpoint.
    """
    directory = workdir / "checkpoints"
    checkpoints = Checkpoints(directory, keep_latest=1, keep_best=False)  # never saves
    if (restored := restore(checkpoints, experiment, step)) is None:
        raise UserError(f"expected a checkpoint in {directory}, found none: train first")
    return restored[1]


def _few(names: tuple[str, ...]) -> str:
    more = f", ... ({len(names)})" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more
