"""The choices that are a registry's: read when a value is checked, since most of them import JAX.

A new cell, optimizer or task is an edit of its registry alone.
"""

from collections.abc import Iterable, Mapping


def tasks() -> Iterable[str]:
    """Returns the names of `config.task`."""
    return task_keys()


def task_keys() -> Mapping[str, Iterable[str]]:
    """Returns, for each task, the config keys that only some tasks read and it reads."""
    return {"classification": ()}


def activations() -> Iterable[str]:
    """Returns the names of `model.activation`."""
    from crnn_jax.models.cnn import ACTIVATIONS

    return ACTIVATIONS


def conv_inits() -> Iterable[str]:
    """Returns the names of `model.conv_init`."""
    from crnn_jax.models.cnn import KERNEL_INITS

    return KERNEL_INITS


def cells() -> Iterable[str]:
    """Returns the names of `model.cell`."""
    from crnn_jax.models.cells import CELLS

    return CELLS


def implementations() -> Iterable[str]:
    """Returns the names of `model.implementation`."""
    return ("auto", "scan", "hoisted", "associative", "fused")


def sequences() -> Iterable[str]:
    """Returns the names of `model.sequence`."""
    from crnn_jax.models.crnn import SEQUENCES

    return SEQUENCES


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
