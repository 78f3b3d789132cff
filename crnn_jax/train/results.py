"""What the loop says of a run: its lines of metrics, and result.json."""

import math
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from crnn_jax.config import flatten
from crnn_jax.data.dataset import Dataset
from crnn_jax.distributed import say
from crnn_jax.errors import NotFiniteError, UserError
from crnn_jax.peak_memory import peak_memory
from crnn_jax.tasks import make_task
from crnn_jax.tasks.sums import Sums
from crnn_jax.train.clock import Clock
from crnn_jax.train.evaluator import result_line
from crnn_jax.train.experiment import Experiment
from crnn_jax.train.progress import Progress
from crnn_jax.train.state import TrainState
from crnn_jax.workdir import (
    check_same_data,
    describe_run,
    logged_names,
    read_result,
    write_dataset,
)
from crnn_jax.writers import Writers


def tell_finished(
    folder: pathlib.Path,
    config: ConfigDict,
    read: Callable[[], Dataset],
    *,
    is_moved: bool,
    accept_data: bool,
) -> dict[str, Any] | None:
    """Returns the content of result.json of a finished run, and says it; None: it is not finished.

    Args:
      folder: where the run lies; what a kill left out of its metrics is added.
      config: the run's.
      read: returns its data, to be compared with those that the run was trained on.
      is_moved: whether the data have another source than the run's. They must be there then; else
        a run whose data cannot be read is finished nevertheless.
      accept_data: see `check_same_data`.

    Raises:
      UserError: result.json is damaged, or the data are others.
    """
    if (result := read_result(folder)) is None:
        return None
    task = make_task(config, 0)
    try:
        line = result_line(task, config.eval.report, result[config.eval.report])
        if type(result["steps"]) is not int:
            raise TypeError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"'{folder / 'result.json'}' expects the results of a run, found others: delete it, "
            "and the same command evaluates the run again"
        ) from None
    has_record = (folder / "dataset.json").exists()
    if (facts := _facts(read, needed=is_moved or not has_record)) is not None:
        check_same_data(folder, facts, accept=accept_data)
        if not has_record:  # it was damaged, and deleted as the error said
            write_dataset(folder, facts)
    complete_metrics(folder, config, result, task.score)
    say(f"already finished: results in {folder}\n{line}")
    return result


def _facts(read: Callable[[], Dataset], *, needed: bool) -> dict[str, Any] | None:
    """Returns `Dataset.describe` of the data; None for data that cannot be read, unless needed."""
    try:
        return read().describe()
    except UserError as error:
        if needed:
            raise
        say(f"the data of the finished run were not compared: {error}", sys.stderr)
        return None


def describe(experiment: Experiment, state: TrainState, clock: Clock) -> dict[str, Any]:
    """Returns the content of result.json but for the scores."""
    config = experiment.config
    num_steps = int(state.step)  # fewer than planned after an early stop
    num_images = num_steps * config.batch_size
    images_per_second = num_images / max(clock.read("train"), 1e-9)
    skipped = state.skipped and {"skipped_updates": int(state.skipped["total"])}
    return {
        "weights": config.eval.weights,
        "precision": config.precision,
        "steps": num_steps,
        "epochs": num_images / experiment.num_train,
        "images_per_second": images_per_second,
        "mfu": experiment.mfu(images_per_second),
        "seconds": clock.seconds,
        "peak_memory_bytes": peak_memory(),
        **(skipped or {}),
        **experiment.describe(),
        **describe_run(config),
    }


def log_training(
    step: int,
    totals: Sums,
    skipped: jax.Array | None,
    experiment: Experiment,
    writers: Writers,
    progress: Progress,
    clock: Clock,
) -> None:
    """Writes one line of metrics up to `step`, with how many updates were `skipped` in all.

    Raises:
      NotFiniteError: the loss is not finite, of one example or more.
    """
    metrics = experiment.task.summarize(totals)
    if metrics["num_examples"] and not math.isfinite(metrics["loss"]):
        text = f"expected a finite training loss, found {metrics['loss']} up to step {step}"
        raise NotFiniteError(text, step)
    progress.metrics(metrics)
    values: dict[str, Any] = _named("train", metrics)
    values["train/images_per_second"] = progress.images_per_second
    values["train/mfu"] = experiment.mfu(progress.images_per_second)
    values["train/learning_rate"] = float(np.asarray(experiment.schedule(step - 1)))
    values["train/epoch"] = step * experiment.config.batch_size / experiment.num_train
    if skipped is not None:
        values["train/skipped_updates"] = int(skipped)
    for place, used in peak_memory().items():
        if used is not None:
            values[f"memory/{place}_peak_bytes"] = used
    clock.read("train")
    values |= {f"seconds/{name}": value for name, value in clock.seconds.items()}
    writers.write(step, values)


def write_evaluation(split: str, step: int, metrics: dict[str, Any], writers: Writers) -> None:
    """Writes the line of a split's summary."""
    writers.write(step, _named(split, metrics))


def write_results(
    folder: pathlib.Path, result: dict[str, Any], score: str, writers: Writers
) -> None:
    """Writes a line for each summary in the content of result.json that has none yet."""
    for name, metrics in _unwritten(folder, result, score).items():
        write_evaluation(name, result["steps"], metrics, writers)


def open_writers(folder: pathlib.Path, config: ConfigDict, start_step: int) -> Writers:
    """Returns what a run's metrics are written with from `start_step` on."""
    tracker = config.log.tracker
    return Writers(folder, tracker=tracker, start_step=start_step, config=flatten(config))


def complete_metrics(
    folder: pathlib.Path, config: ConfigDict, result: dict[str, Any], score: str
) -> None:
    """Writes the last lines of metrics.jsonl that a kill after result.json has cost."""
    # A finished run may lie where nothing can be written.
    if _unwritten(folder, result, score) and os.access(folder, os.W_OK):
        with open_writers(folder, config, result["steps"]) as writers:
            write_results(folder, result, score, writers)


def _unwritten(folder: pathlib.Path, result: dict[str, Any], score: str) -> dict[str, Any]:
    written = logged_names(folder, result["steps"])
    found = {name: value for name, value in result.items() if isinstance(value, dict)}
    return {
        name: value
        for name, value in found.items()
        if score in value and f"{name}/{score}" not in written
    }


def _named(split: str, summary: dict[str, Any]) -> dict[str, float]:
    """Returns {"test/loss": ...}: the figures of a summary, without its counts."""
    return {f"{split}/{name}": x for name, x in summary.items() if isinstance(x, float)}
