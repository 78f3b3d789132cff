"""Optimizers and learning-rate schedules by name, from optax."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict


def make_schedule(optim: ConfigDict, total_steps: int, warmup_steps: int) -> optax.Schedule:
    """Returns step -> learning rate: linear from 0 over the warm-up, then `optim.schedule` to 0.

    Args:
      optim: the config's `optim`.
      total_steps: at which cosine and linear reach 0; constant stays at the peak.
      warmup_steps: 0..total_steps.
    """
    peak, rest = optim.learning_rate, max(total_steps - warmup_steps, 1)
    after = {
        "constant": optax.constant_schedule(peak),
        "cosine": optax.cosine_decay_schedule(peak, rest),
        "linear": optax.linear_schedule(peak, 0.0, rest),
    }[optim.schedule]
    if warmup_steps == 0:
        return after
    return optax.join_schedules(
        [optax.linear_schedule(0.0, peak, warmup_steps), after], [warmup_steps]
    )


def decay_mask(params: Any) -> Any:
    """Returns a tree of bools: True for matrices and kernels, False for biases and norm scales."""
    return jax.tree.map(lambda array: array.ndim > 1, params)


def make_optimizer(optim: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Returns the optimizer: [clipping,] then adam, adamw or sgd.

    adamw decays weights apart from the gradient (Loshchilov and Hutter 2019), sgd adds them to it
    (L2); neither touches norms and biases.
    """
    make = {"adam": _adam, "adamw": _adamw, "sgd": _sgd}[optim.name]
    update = make(optim, schedule)
    if optim.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(optim.clip_norm), update)
    return update


def _adam(optim: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.adam(schedule, b1=optim.b1, b2=optim.b2)


def _adamw(optim: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.adamw(
        schedule, b1=optim.b1, b2=optim.b2, weight_decay=optim.weight_decay, mask=decay_mask
    )


def _sgd(optim: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(optim.weight_decay, mask=decay_mask),
        optax.sgd(schedule, momentum=optim.momentum, nesterov=optim.nesterov),
    )
