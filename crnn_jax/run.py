"""Opens a run that was trained: its config, model and weights, and what they say of new inputs."""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.checksums import not_finite
from crnn_jax.compiler import compiler_options
from crnn_jax.config import override
from crnn_jax.data import record
from crnn_jax.data.dataset import Dataset, load_dataset, with_absolute_paths
from crnn_jax.distributed import check_same_on_all, say
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
      trained_on: what dataset.json says of the data.
    """

    workdir: pathlib.Path
    experiment: Experiment
    state: TrainState
    class_names: tuple[str, ...]
    trained_on: dict[str, Any]
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
        """Returns the data of the run, as it lies there now, with the classes that were trained.

        Where it is not that of the training, a line on stderr says in what.

        Raises:
          UserError: it is missing, has another shape, or none of the classes; or the processes of a
            run have different data.
        """
        dataset = load_dataset(self.config)
        check_fields(self.config, dataset.source)
        shape, where = dataset.source.input_shape, self.config.data.source
        if shape != self.experiment.input_shape:
            raise UserError(
                f"run '{self.workdir}' expects data of shape {self.experiment.input_shape}, found "
                f"{shape} in '{where}': see 'data.source', or name other data by --data_source"
            )
        facts = dataset.describe()
        check_same_on_all(facts)
        if different := record.differences(self.trained_on, facts):
            unknown = set(facts["class_names"]) - set(self.class_names)
            left_out = "; examples of a new class are left out" if unknown else ""
            text = f"'{where}' is not as in training: {'; '.join(different)}{left_out}"
            say(text, sys.stderr)
        return dataset.with_classes(self.class_names)

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


def open_run(
    workdir: str | pathlib.Path,
    step: int | None = None,
    *,
    num_devices: int = 1,
    placement: Mapping[str, str] = MappingProxyType({}),
) -> Run:
    """Returns the run in `workdir` with its checkpoint of `step`, the newest good one for None.

    Args:
      workdir: of a run of crnn_jax.main.
      step: of a checkpoint.
      num_devices: over which an evaluation is split, whatever the training had; -1: all.
      placement: config keys that say where data and caches lie now, as from `flags.placement`.

    Raises:
      UserError: no run there, no such checkpoint, or a damaged one.
    """
    folder = pathlib.Path(workdir).expanduser()
    config, facts = load_config(folder), read_dataset(folder)
    for key, value in placement.items():
        override(config, key, value)
    config = with_absolute_paths(config)
    config.mesh.update(data=num_devices, fsdp=1, model=1)
    enable_compile_cache(config)
    names = tuple(facts["class_names"])
    experiment = build(config, facts["input_shape"], len(names), facts["num_train"])
    state = restore_state(folder, experiment, step)
    return Run(folder, experiment, state, names, facts)


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
