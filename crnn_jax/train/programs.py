"""The compiled training step of an experiment, whichever way its config wants it made."""

from collections.abc import Callable
from typing import Any

import jax

from crnn_jax.tasks.sums import Sums as Metrics
from crnn_jax.train.experiment import Experiment
from crnn_jax.train.reproducible import make_reproducible_step
from crnn_jax.train.state import TrainState
from crnn_jax.train.step import Assemble

Step = Callable[[TrainState, Metrics, Any], tuple[TrainState, Metrics]]


def make_step(experiment: Experiment, assemble: Assemble) -> Step:
    """Returns the step that `config` asks for, one call a step."""
    config = experiment.config
    if not config.reproducible:
        return jitted_step(experiment, assemble)
    return make_reproducible_step(
        experiment.model,
        experiment.task,
        experiment.optimizer,
        assemble,
        ema_decay=config.optim.ema_decay,
        skip_nonfinite=config.optim.skip_nonfinite,
        mesh=experiment.mesh,
        logical_shards=config.logical_shards,
        frozen=config.init.freeze,
    )


def compile_step(
    experiment: Experiment, assemble: Assemble, state: TrainState, totals: Metrics, inputs: Any
) -> Step:
    """Returns `make_step`, compiled for arguments like these, which stay as they are."""
    if not experiment.config.reproducible:
        return jitted_step(experiment, assemble).lower(state, totals, inputs).compile()
    # Several programs that feed each other: one step, which donates nothing, compiles them all.
    step = make_step(experiment, assemble)
    jax.block_until_ready(step(state, totals, inputs))
    return step


def jitted_step(experiment: Experiment, assemble: Assemble) -> jax.stages.Wrapped:
    """Returns the step as one program, which donates the state it is given."""
    step = experiment.train_step(assemble)
    return jax.jit(step, donate_argnums=0, compiler_options=experiment.compiler_options)
