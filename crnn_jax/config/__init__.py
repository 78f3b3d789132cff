"""Every config key, declared once; default configs, overrides and durations.

A config is an `ml_collections.ConfigDict`. `config.model` holds the keys of the chosen model and no
others, so that a key that the model does not have is an error and never silently ignored.
"""

from crnn_jax.config.declared import (
    AUTO_KEYS,
    EVERY_KEY,
    MODEL_DEFAULTS,
    PLACEMENT_KEYS,
    PROGRAM_KEYS,
    SEGMENTERS,
    SHAPELESS_KEYS,
    default_config,
    keys_of,
)
from crnn_jax.config.durations import profile_window, round_up, steps
from crnn_jax.config.values import (
    config_hash,
    config_of_flat,
    differences,
    flatten,
    override,
    parse_argument,
    with_absent,
)

__all__ = [
    "AUTO_KEYS",
    "EVERY_KEY",
    "MODEL_DEFAULTS",
    "PLACEMENT_KEYS",
    "PROGRAM_KEYS",
    "SEGMENTERS",
    "SHAPELESS_KEYS",
    "config_hash",
    "config_of_flat",
    "default_config",
    "differences",
    "flatten",
    "keys_of",
    "override",
    "parse_argument",
    "profile_window",
    "round_up",
    "steps",
    "with_absent",
]
