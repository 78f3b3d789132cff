"""Opens a run that was trained: its config, model and weights, and what they say of new inputs."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.compiler import compiler_options
from crnn_jax.config import override
from crnn_jax.data.dataset import with_absolute_paths
from crnn_jax.data.inputs import Inputs, read_batches
from crnn_jax.data.views import make_view
from crnn_jax.errors import UserError, closest
from crnn_jax.models.layers import layer_names, layer_output
from crnn_jax.predictor import BATCH, Predictor, check_finite, in_batches
from crnn_jax.tasks import Task
from crnn_jax.tasks.task import Predictions
from crnn_jax.train.evaluator import evaluator_of
from crnn_jax.train.experiment import Experiment, build, enable_compile_cache
from crnn_jax.train.restore import restore
from crnn_jax.train.state import TrainState, variables
from crnn_jax.train.step import apply_views
from crnn_jax.workdir import load_config, read_dataset


@dataclasses.dataclass(frozen=True)
class Run(Predictor):
    """A trained run.

    Attributes:
      workdir: where it lies; the file where it was exported to one.
      experiment: its model, task and config.
      state: the chosen checkpoint's.
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

    @property
    def task(self) -> Task:
        """What it was trained for."""
        return self.experiment.task

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(H, W, C) of the images that it reads, (F, H, W, C) of clips."""
        return self.experiment.input_shape

    @property
    def described(self) -> str:
        """What an error calls it."""
        return f"run '{self.workdir}'"

    @functools.cached_property
    def weights(self) -> dict[str, Any]:
        """The model's variables: the last ones or the average, as `config.eval.weights` says."""
        return variables(self.state, self.config.eval.weights, self.config.optim.ema_decay)

    def prepare(self, pixels: jax.Array) -> jax.Array:
        """Returns the model's input of uint8 pixels (B, *input_shape), as in an evaluation."""
        task, state = self.experiment.task, self.state
        return task.prepare({task.pixels: pixels}, state.norm, state.seed, train=False)[0]

    def apply(self, pixels: np.ndarray) -> Predictions:
        """Returns the task's predictions, numpy arrays (B, ...) by name.

        Args:
          pixels: uint8 (B, *input_shape), any B.

        Raises:
          UserError: a prediction is not finite.
        """
        if "apply" not in self._programs:
            self._programs["apply"] = self._compiled()
        program = self._programs["apply"]
        found = in_batches(lambda part: program(self.weights, self.state.norm, part), pixels)
        check_finite(
            found,
            self.described,
            "choose an earlier checkpoint with --step, or train with a lower 'optim.learning_rate'",
        )
        return found

    def features(self, inputs: Inputs, layer: str | None = None) -> np.ndarray:
        """Returns what a layer of the model makes of the inputs, an array (B, ...).

        It is the first of a layer's several results: the states after each step of a recurrent
        one, the last map of the trunk. Where a layer reads frames, or lines of an image, as
        examples, it is (B, frames, ...).

        Args:
          inputs: as `predict` takes them.
          layer: in the model, as "trunk", "trunk/conv_0_0" or "recurrent/layer_0"; None: what the
            head reads.

        Raises:
          UserError: as `predict`, or no such layer.
        """
        model, shape = self.experiment.model, self.input_shape
        names = layer_names(model, shape)
        if layer is not None and layer not in names:
            raise UserError(
                f"layer is expected to be one of {', '.join(names)}, found '{layer}'"
                f"{closest(str(layer), names)}"
            )
        key = f"layer:{layer}"
        if key not in self._programs:
            self._programs[key] = jax.jit(self._inner(layer))
        program = self._programs[key]
        parts = [
            in_batches(lambda part: program(self.weights, self.state.norm, part), batch.pixels)
            for batch in read_batches(inputs, shape, make_view(self.config), BATCH)
        ]
        if not parts:
            raise UserError("features are expected of one input or more, found none")
        return np.concatenate([part["feature"] for part in parts])

    def evaluate(self, split: str, tta: str = "none") -> dict[str, Any]:
        """Returns the summary of a split: the task's score, "loss", counts."""
        return evaluator_of(self.experiment, self.dataset(), split, tta)(self.state)

    def _compiled(self) -> Callable[..., Predictions]:
        model, task = self.experiment.model, self.experiment.task

        def predict(weights: Any, norm: Any, pixels: jax.Array) -> Predictions:
            batch = {task.pixels: pixels}
            ready, _ = task.prepare(batch, norm, jnp.uint32(0), train=False)
            return task.predictions(apply_views(model, task, weights, ready, "none"))

        return jax.jit(predict, compiler_options=compiler_options(onednn=False))

    def _inner(self, layer: str | None) -> Callable[..., Predictions]:
        model, task = self.experiment.model, self.experiment.task

        def inner(weights: Any, norm: Any, pixels: jax.Array) -> Predictions:
            batch = {task.pixels: pixels}
            ready, _ = task.prepare(batch, norm, jnp.uint32(0), train=False)
            return {"feature": layer_output(model, weights, ready, layer)}

        return inner


def open_run(
    workdir: str | pathlib.Path,
    step: int | None = None,
    *,
    num_devices: int = 1,
    placement: Mapping[str, str] = MappingProxyType({}),
) -> Run:
    """Returns the run in `workdir` with its checkpoint of `step`, the newest good one for None.

    Args:
      workdir: folder of a run of crnn_jax.main.
      step: which checkpoint.
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
