"""Tasks by name: what turns a batch into a model's input, a loss and metrics."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from crnn_jax.data.mixing import Mixing
from crnn_jax.tasks.classification import Classification


def make_task(config: ConfigDict) -> Classification:
    """Returns the task that `config.task` names."""
    return Classification(
        label_smoothing=config.optim.label_smoothing,
        crop_padding=config.data.crop_padding,
        flip=config.data.flip,
        cutout=config.data.cutout,
        dtype=jnp.dtype(config.precision),
        mixing=Mixing(config.data.mixup, config.data.cutmix, config.data.erase),
        rand_augment=config.data.rand_augment,
        rand_augment_magnitude=config.data.rand_augment_magnitude,
    )
