"""Finds the step after which a number is not finite, and keeps the state before it."""

import contextlib
import pathlib
import shutil
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from crnn_jax import checksums
from crnn_jax.checkpoint import Checkpoints
from crnn_jax.data.dataset import Dataset
from crnn_jax.disk import cannot_write
from crnn_jax.distributed import on_first, say
from crnn_jax.mesh import replicated
from crnn_jax.train.experiment import Experiment
from crnn_jax.train.finite import is_finite
from crnn_jax.train.programs import compile_step
from crnn_jax.train.restore import restore
from crnn_jax.train.state import TrainState
from crnn_jax.workdir import NONFINITE


def keep_for_replay(
    experiment: Experiment,
    dataset: Dataset,
    checkpoints: Checkpoints,
    workdir: pathlib.Path,
    last: int,
    first_state: Callable[[], TrainState],
) -> str:
    """Returns which step it was, after its state is kept in WORKDIR/nonfinite.

    That folder is a workdir: the run's command with it takes the step again. Checkpoints from
    `last` on are moved aside, and one whose loss is not finite, so that the run goes on from
    before.

    Args:
      experiment: the run's.
      dataset: likewise.
      checkpoints: likewise.
      workdir: likewise.
      last: the step after which a number that is not finite was found.
      first_state: makes the state at step 0, which a run without a checkpoint is taken from.

    Raises:
      UserError: a file cannot be written.
    """
    if workdir.name == NONFINITE:
        return "this is a replay"
    checkpoints.set_aside(last)
    culprit = find_step(experiment, dataset, checkpoints, last, first_state)
    step_before = culprit.step - experiment.steps_per_dispatch
    if not culprit.good_before:
        checkpoints.set_aside(step_before)
    folder = workdir / NONFINITE

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir()
            for file in ("config.json", "dataset.json"):
                shutil.copyfile(workdir / file, folder / file)
        except OSError as error:
            raise cannot_write(folder, error) from error

    on_first(begin)
    with Checkpoints(folder / "checkpoints", keep_latest=1, keep_best=False) as kept:
        kept.save(step_before, culprit.before)
    return (
        f"step {culprit.step} did it ({culprit.what}), and the state before it is kept in "
        f"'{folder}'"
    )


class Culprit(NamedTuple):
    """A step after which a number is not finite.

    Attributes:
      step: the last one of its program.
      before: the state before that program.
      what: is not finite.
      good_before: whether the loss of the state before is finite.
    """

    step: int
    before: TrainState
    what: str
    good_before: bool


def find_step(
    experiment: Experiment,
    dataset: Dataset,
    checkpoints: Checkpoints,
    last: int,
    first_state: Callable[[], TrainState],
) -> Culprit:
    """Returns the first step up to `last` after which a number is not finite, `last` if all are.

    The steps after the newest checkpoint are taken again: each is a function of the state before
    it, so they are the same.
    """
    start, state = restore(checkpoints, experiment) or (0, first_state())
    stride, mesh = experiment.steps_per_dispatch, experiment.mesh
    say(f"looking for the step that did it: steps {start + 1} to {last} are taken again")
    pipeline = dataset.pipeline("train", experiment.config.batch_size, mesh)
    empty = jax.jit(experiment.task.empty, out_shardings=replicated(mesh))()
    with contextlib.closing(pipeline.train_inputs(start)) as iterator:
        inputs = next(iterator)
        train_step = compile_step(experiment, pipeline.assemble, state, empty, inputs)
        for step in range(start + stride, last + 1, stride):
            before = jax.tree.map(jnp.copy, state)
            state, totals = train_step(state, empty, inputs)
            if step == last or not is_finite(state, totals):
                break
            inputs = next(iterator)
    if not is_finite(totals):
        return Culprit(step, before, "the loss", good_before=False)
    name = checksums.not_finite(checksums.named_leaves(state))
    what = f"NaN or inf in '{name}'" if name else "the loss of evaluated examples"
    return Culprit(step, before, what, good_before=True)
