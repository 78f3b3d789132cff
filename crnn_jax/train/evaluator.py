"""Evaluation of one split: every example counts once."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from crnn_jax.data.dataset import Dataset
from crnn_jax.data.handed import check_views
from crnn_jax.data.pipeline import Pipeline
from crnn_jax.errors import NotFiniteError
from crnn_jax.mesh import batch_parts, replicated
from crnn_jax.tasks import Task
from crnn_jax.tasks.sums import Sums
from crnn_jax.train.experiment import Experiment
from crnn_jax.train.state import TrainState
from crnn_jax.train.step import make_eval_step
from crnn_jax.train.watchdog import watched

_CPU_BATCH = 100  # examples a device


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """The evaluation of one split, compiled once; call it with a state.

    Attributes:
      task: the run's.
      pipeline: over the split.
      count: (state, totals, inputs, first_index) -> totals.
      predict: takes the same -> (totals, predictions).
      empty: the totals of no example.
      skips: whether unreadable examples may be left out.
      stuck_seconds: how long to wait for a batch.
    """

    task: Task
    pipeline: Pipeline
    count: Callable[..., Sums]
    predict: Callable[..., Any]
    empty: Sums
    skips: bool
    stuck_seconds: float

    def __call__(
        self,
        state: TrainState,
        interruptible: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> dict[str, Any]:
        """Returns the task's summary: its score, "loss", "num_examples" and more.

        Args:
          state: whose weights are evaluated.
          interruptible: makes the block in which to wait for data; it may raise.

        Raises:
          NotFiniteError: the loss is not finite.
        """
        totals = previous = self.empty
        with contextlib.closing(self._batches()) as batches:
            while True:
                with interruptible():
                    batch = next(batches, None)
                if batch is None:
                    return self._summary(totals, int(state.step))
                totals = self.count(state, totals, batch[0], jnp.uint32(batch[1]))
                # The host is one batch ahead of the device, so that a signal is answered.
                jax.block_until_ready(previous)
                previous = totals

    def with_predictions(self, state: TrainState) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Returns (summary, predictions of every example in the split's order), on each host.

        Predictions are arrays (N, ...) by the task's names, the targets as "true_NAME", and
        "weight": 0 where an example was unreadable.
        """
        totals, parts = self.empty, []
        for inputs, first_index in self._batches():
            totals, part = self.predict(state, totals, inputs, jnp.uint32(first_index))
            parts.append(_on_host(part))
        num_examples = self.pipeline.num_examples  # what comes after is padding
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return self._summary(totals, int(state.step)), {
            name: x[:num_examples] for name, x in joined.items()
        }

    def _batches(self) -> Generator[tuple[Any, jax.Array]]:
        return watched(self.pipeline.eval_inputs(), self.stuck_seconds)

    def _summary(self, totals: Sums, step: int) -> dict[str, Any]:
        count, expected = int(totals.num_examples), self.pipeline.num_examples
        # A score over another number of examples is another number: never report it.
        if count != expected and not (self.skips and count < expected):
            raise AssertionError(f"evaluated {count} examples of a split of {expected}")
        summary = self.task.summarize(totals)
        if count and not math.isfinite(summary["loss"]):
            text = f"expected a finite loss of evaluated examples, found {summary['loss']}"
            raise NotFiniteError(f"{text} at step {step}", step)
        return summary


def make_evaluator(experiment: Experiment, pipeline: Pipeline, tta: str = "none") -> Evaluator:
    """Returns the evaluator of a pipeline's split; `config.eval.weights` says of which weights.

    `tta`: test-time augmentation, as `config.eval.tta`, which says what a run reports beside the
    plain score.
    """
    config, task = experiment.config, experiment.task
    step = make_eval_step(
        experiment.model,
        task,
        pipeline.eval_assemble,
        mesh=experiment.mesh,
        weights=config.eval.weights,
        ema_decay=config.optim.ema_decay,
        tta=tta,
    )

    def count(*arguments: Any) -> Sums:
        return step(*arguments)[0]

    options = experiment.evaluation_options
    return Evaluator(
        task,
        pipeline,
        jax.jit(count, compiler_options=options),
        jax.jit(step, compiler_options=options),
        jax.jit(task.empty, out_shardings=replicated(experiment.mesh))(),
        config.data.skip_corrupt,
        config.mesh.stuck_seconds,
    )


def evaluate(
    experiment: Experiment, dataset: Dataset, split: str, state: TrainState
) -> dict[str, dict[str, Any]]:
    """Returns {"test": metrics}, with "test_tta" beside it where the config has views of images."""
    results = {split: evaluator_of(experiment, dataset, split)(state)}
    if (tta := experiment.config.eval.tta) != "none":
        metrics = evaluator_of(experiment, dataset, split, tta)(state)
        results[f"{split}_tta"] = {**metrics, "views": tta}
    return results


def evaluator_of(
    experiment: Experiment, dataset: Dataset, split: str, tta: str = "none"
) -> Evaluator:
    """Returns the evaluator of a split of the run's data; see `make_evaluator`.

    Raises:
      UserError: a view of an example is of another class.
    """
    check_views(dataset.source, tta)
    size = eval_batch_size(experiment.config.eval.batch_size, experiment.mesh)
    return make_evaluator(experiment, dataset.pipeline(split, size, experiment.mesh), tta)


def eval_batch_size(batch_size: int, mesh: Mesh) -> int:
    """Returns how many examples an evaluation reads at once: `batch_size`, on a CPU at most 100.

    Without oneDNN a convolution on a CPU copies the patches of its whole batch first, 9 times its
    input for a 3 x 3 kernel, into memory that XLA's plan leaves out (benchmarks/memory.py).
    """
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return min(batch_size, _CPU_BATCH * batch_parts(mesh)) if on_cpu else batch_size


def result_line(task: Task, split: str, summary: dict[str, Any], tta: str = "none") -> str:
    """Returns "test accuracy 0.9312 (9312/10000)", or "test accuracy with tta=mirror ..."."""
    views = "" if tta == "none" else f" with tta={tta}"
    name = task.score.replace("_", " ")
    return f"{split} {name}{views} {summary[task.score]:.4f} {task.counts(summary)}"


def _on_host(tree: dict[str, jax.Array]) -> dict[str, np.ndarray]:
    """Returns the whole arrays, gathered from all devices and processes."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)
