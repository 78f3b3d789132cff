"""The choices that are a registry's: read when a value is checked, since most of them import JAX.

A new cell, optimizer or task is an edit of its registry alone.
"""

from collections.abc import Iterable, Mapping


def tasks() -> Iterable[str]:
    """Returns the names of `config.task`."""
    from crnn_jax.tasks import TASKS

    return TASKS


def task_keys() -> Mapping[str, Iterable[str]]:
    """Returns, for each task, the config keys that only some tasks read and it reads."""
    from crnn_jax.tasks import TASKS

    return {name: task.keys for name, task in TASKS.items()}


def activations() -> Iterable[str]:
    """Returns the names of `model.activation`."""
    from crnn_jax.models.trunk import ACTIVATIONS

    return ACTIVATIONS


def conv_inits() -> Iterable[str]:
    """Returns the names of `model.conv_init`."""
    from crnn_jax.models.trunk import KERNEL_INITS

    return KERNEL_INITS


def cells() -> Iterable[str]:
    """Returns the names of `model.cell`."""
    from crnn_jax.models.recurrent.cells import CELLS

    return CELLS


def implementations() -> Iterable[str]:
    """Returns the names of `model.implementation`."""
    from crnn_jax.models.recurrent.implementations import IMPLEMENTATIONS

    return ("auto", *IMPLEMENTATIONS)


def readouts() -> Iterable[str]:
    """Returns the names of `model.readout`."""
    from crnn_jax.models.readout import READOUTS

    return READOUTS


def pipelines() -> Iterable[str]:
    """Returns the names of `data.pipeline`."""
    from crnn_jax.data.dataset import PIPELINES

    return PIPELINES


def flips() -> Iterable[str]:
    """Returns the names of `data.flip`."""
    from crnn_jax.data.transforms import FLIPS

    return FLIPS


def views() -> Iterable[str]:
    """Returns the names of `eval.tta`."""
    from crnn_jax.data.transforms import TTA

    return TTA


def sequences() -> Iterable[str]:
    """Returns the names of `model.sequence`."""
    from crnn_jax.models.crnn import SEQUENCES

    return SEQUENCES


def step_orders() -> Iterable[str]:
    """Returns the names of `model.step_order`."""
    from crnn_jax.models.step_order import STEP_ORDERS

    return STEP_ORDERS


def tokens() -> Iterable[str]:
    """Returns the names of `model.tokens`."""
    from crnn_jax.models.rnn import TOKENS

    return TOKENS


def consensuses() -> Iterable[str]:
    """Returns the names of `model.consensus`."""
    from crnn_jax.models.tsn import CONSENSUSES

    return CONSENSUSES


def optimizers() -> Iterable[str]:
    """Returns the names of `optim.name`."""
    from crnn_jax.optim import OPTIMIZERS

    return OPTIMIZERS


def schedules() -> Iterable[str]:
    """Returns the names of `optim.schedule`."""
    from crnn_jax.optim import SCHEDULES

    return SCHEDULES


def trackers() -> Iterable[str]:
    """Returns the names of `log.tracker`."""
    from crnn_jax.trackers import TRACKERS

    return TRACKERS
