"""What becomes of a run whose config has changed in keys that may change."""

import pathlib

from ml_collections import ConfigDict

from crnn_jax.config import EVERY_KEY, flatten, round_up, steps
from crnn_jax.disk import cannot_write
from crnn_jax.distributed import is_first, say
from crnn_jax.errors import UserError
from crnn_jax.train.experiment import Experiment


def make_way(folder: pathlib.Path, stored: ConfigDict | None, experiment: Experiment) -> None:
    """Makes way for what has changed since the stored config, and says it.

    It says too if the warm-up is longer than the run.

    The result of a shorter run is kept as result_STEPS_steps.json.

    Raises:
      UserError: the duration has changed, and is not longer.
    """
    config, total_steps = experiment.config, experiment.total_steps
    warmup = steps(config.optim.warmup, experiment.num_train, config.batch_size, "optim.warmup")
    if warmup > total_steps:
        say(
            f"'optim.warmup' is longer than the run, by {warmup} steps to {total_steps}: the "
            "learning rate never reaches its peak"
        )
    if stored is None:
        return
    if config.duration != stored.duration:
        num_steps = steps(stored.duration, experiment.num_train, config.batch_size)
        before = round_up(num_steps, experiment.steps_per_dispatch)
        if total_steps <= before:
            raise UserError(
                f"--extend expects a 'duration' of more steps than the run's {before} "
                f"('{stored.duration}'), found {total_steps} ('{config.duration}')"
            )
        say(
            f"extended from {before} to {total_steps} steps: from here on the learning rate's "
            f"schedule is that of {total_steps} steps"
        )
        result = folder / "result.json"
        try:
            if is_first() and result.exists():
                result.rename(folder / f"result_{before}_steps.json")
        except OSError as error:
            raise cannot_write(result, error) from error
    old, new = flatten(stored), flatten(config)
    for name, key in EVERY_KEY.items():
        if key.changes == "rescue" and old.get(name) != new.get(name):
            say(f"{name} is {new[name]} from here on; it was {old[name]}")
