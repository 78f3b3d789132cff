"""Restores the state of a run, also where keys that may change give it another shape."""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.checksums import OtherStateError
from crnn_jax.optim import make_optimizer
from crnn_jax.train.experiment import Experiment
from crnn_jax.train.state import TrainState


def restore(
    checkpoints: Checkpoints, experiment: Experiment, step: int | None = None
) -> tuple[int, TrainState] | None:
    """Returns (step, state) of a checkpoint of the run; None if there is none and `step` is None.

    `optim.clip_norm` and `optim.skip_nonfinite` may change in a run: whether they are 0 decides how
    the optimizer's state is nested, and whether skipped updates are counted.

    Args:
      checkpoints: the run's.
      experiment: made of its config as it is now.
      step: which checkpoint; None: the newest good one.

    Raises:
      UserError: as `Checkpoints.restore` and `Checkpoints.restore_step`.
    """

    def load(experiment: Experiment) -> tuple[int, TrainState] | None:
        abstract = experiment.abstract_state()
        if step is None:
            return checkpoints.restore(abstract)
        return step, checkpoints.restore_step(step, abstract)

    try:
        return load(experiment)
    except OtherStateError as error:
        for other in _others(experiment):
            with contextlib.suppress(OtherStateError):
                found = load(other)
                return found and (found[0], _as_of(experiment, found[1]))
        raise error


def _others(experiment: Experiment) -> Iterator[Experiment]:
    """Yields the experiment with and without clipping, and with and without skipping."""
    for clip_norm in (0.0, 1.0):
        for skip_nonfinite in (0, 1):
            config = ConfigDict(experiment.config.to_dict())
            config.optim.update(clip_norm=clip_norm, skip_nonfinite=skip_nonfinite)
            optimizer = make_optimizer(
                config.optim,
                experiment.schedule,
                experiment.total_steps,
                layer_decay=config.init.layer_decay,
                dtype=jnp.dtype(config.precision),
            )
            yield dataclasses.replace(experiment, config=config, optimizer=optimizer)


def _as_of(experiment: Experiment, state: TrainState) -> TrainState:
    """Returns the state as the experiment has it: clipping has no arrays of its own."""
    abstract = experiment.abstract_state()
    structure = jax.tree.structure(abstract.opt_state)
    skipped = abstract.skipped
    if skipped is not None:
        skipped = state.skipped or jax.tree.map(
            lambda x: jax.device_put(jnp.zeros(x.shape, x.dtype), x.sharding), skipped
        )
    opt_state = jax.tree.unflatten(structure, jax.tree.leaves(state.opt_state))
    return dataclasses.replace(state, opt_state=opt_state, skipped=skipped)
