"""All declared keys together, and what follows from them."""

from typing import Any

from ml_collections import ConfigDict

from crnn_jax.config.data_keys import DATA_KEYS
from crnn_jax.config.init_keys import INIT_KEYS
from crnn_jax.config.key import Key, shown
from crnn_jax.config.model_keys import MODEL_KEYS
from crnn_jax.config.optim_keys import OPTIM_KEYS
from crnn_jax.config.run_keys import REPORT_KEYS, RUN_KEYS
from crnn_jax.errors import UserError, closest

SHARED_KEYS = {**RUN_KEYS, **DATA_KEYS, **OPTIM_KEYS, **INIT_KEYS, **REPORT_KEYS}


def keys_of(model: str) -> dict[str, Key]:
    """Returns the declaration of every dotted key that a config of `model` has.

    Raises:
      UserError: no such model.
    """
    if not isinstance(model, str) or model not in MODEL_KEYS:
        name = shown(model)
        valid = ", ".join(MODEL_KEYS)
        raise UserError(f"model '{name}' is unknown; one of: {valid}{closest(name, MODEL_KEYS)}")
    keys = {
        "model.name": Key(model, "chosen as FILE:MODEL", choices=tuple(MODEL_KEYS)),
        **{f"model.{name}": key for name, key in MODEL_KEYS[model].items()},
    }
    return {**SHARED_KEYS, **keys}


def nest(flat: dict[str, Any]) -> ConfigDict:
    """Returns the config of {"optim.learning_rate": 0.001, ...}."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    return ConfigDict(nested)


def default_config(model: str) -> ConfigDict:
    """Returns the complete config of `model` with every default; training files change a few keys.

    Raises:
      UserError: no such model.
    """
    return nest({name: key.default for name, key in keys_of(model).items()})


MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    model: {name: key.default for name, key in keys.items()} for model, keys in MODEL_KEYS.items()
}
# Keys of section `model` that no array's shape depends on.
SHAPELESS_KEYS = ("model.dropout", "model.implementation", "model.norm_momentum", "model.remat")
SEGMENTERS = ("reseg",)  # models that give each pixel a class
EVERY_KEY = {name: key for model in MODEL_KEYS for name, key in keys_of(model).items()}
# Keys that only place or report a run: they may change when a run is resumed.
PLACEMENT_KEYS = tuple(name for name, key in EVERY_KEY.items() if key.changes == "always")
# Keys whose choice may be left to the start of a run, by the value that leaves it.
AUTO_KEYS = {name: key.auto for name, key in EVERY_KEY.items() if key.auto is not None}
# Those of them that say by which program the same numbers are computed.
PROGRAM_KEYS = tuple(name for name in AUTO_KEYS if EVERY_KEY[name].program)
# Former name -> (today's name, former value -> today's value).
FORMER_NAMES = {
    key.former.name: (name, key.former.values)
    for name, key in EVERY_KEY.items()
    if key.former is not None
}
