"""The values of a config: flat and by section, as text, compared and hashed."""

import ast
import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.config.declared import (
    EVERY_KEY,
    FORMER_NAMES,
    MODEL_DEFAULTS,
    PLACEMENT_KEYS,
    PROGRAM_KEYS,
    SEGMENTERS,
    keys_of,
    nest,
)
from crnn_jax.config.key import shown
from crnn_jax.errors import UserError, closest


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns {"optim.learning_rate": 0.001, ...}: dotted key to value, tuples as lists."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= {f"{key}.{name}": leaf for name, leaf in flatten(value).items()}
        else:
            flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


def with_absent(flat: dict[str, Any]) -> dict[str, Any]:
    """Returns a stored flat config with the keys that it lacks, as runs were before they existed.

    Keys under a former name have today's.

    Raises:
      UserError: it names no model that there is.
    """
    flat = _with_new_names(flat)
    keys = keys_of(model_of(flat))
    absent = {name: _as_stored(key.value_if_absent) for name, key in keys.items()}
    return {**absent, **flat}


def _with_new_names(flat: dict[str, Any]) -> dict[str, Any]:
    renamed = dict(flat)
    for former, (name, values) in FORMER_NAMES.items():
        if former in flat and name not in flat and flat[former] in values:
            renamed[name] = values[renamed.pop(former)]
    return renamed


def _as_stored(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def model_of(flat: dict[str, Any]) -> str:
    """Returns `model.name`; a UserError where there is none."""
    if "model.name" not in flat:
        raise UserError("config key 'model.name' is missing; choose the model as FILE:MODEL")
    return flat["model.name"]


def check_names(flat: dict[str, Any]) -> None:
    """Checks that a flat config has the keys of its model and no others.

    Raises:
      UserError: names one that is unknown, with the closest valid one, or one that is missing.
    """
    model = model_of(flat)
    keys = keys_of(model)
    for name in sorted(flat.keys() - keys.keys()):
        raise unknown_key(name, model, keys)
    for name in sorted(keys.keys() - flat.keys()):
        raise UserError(
            f"config key '{name}' of model '{model}' is missing; choose the model as FILE:{model}"
        )


def unknown_key(name: str, model: str, keys: Iterable[str]) -> UserError:
    """Returns the error that names the models that have the key, else the closest of `keys`."""
    section, _, leaf = name.partition(".")
    owners = [owner for owner, defaults in MODEL_DEFAULTS.items() if leaf in defaults]
    if section == "model" and owners:
        return UserError(
            f"config key '{shown(name)}' is unknown for model '{model}'; it is a key of "
            + ", ".join(owners)
        )
    if name in FORMER_NAMES:
        return UserError(f"config key '{name}' is now '{FORMER_NAMES[name][0]}': set that one")
    of_model = f" for model '{model}'" if section == "model" and model else ""
    return UserError(f"config key '{shown(name)}' is unknown{of_model}{closest(name, keys)}")


def config_of_flat(flat: dict[str, Any]) -> ConfigDict:
    """Returns the config of what `flatten` gave, lists as tuples and 5 as 5.0 where that is meant.

    Raises:
      UserError: see `check_names`.
    """
    check_names(flat)
    return nest({name: _as_declared(name, value) for name, value in flat.items()})


def _as_declared(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    is_float = type(value) is int and name in EVERY_KEY and type(EVERY_KEY[name].default) is float
    return float(value) if is_float and abs(value) < 1e300 else value  # the rest is refused later


def differences(
    old: dict[str, Any], new: dict[str, Any], ignored: Iterable[str] = PLACEMENT_KEYS
) -> list[str]:
    """Returns "KEY is OLD there and NEW here" for each key of two flat configs that differs.

    Args:
      old: flat config of a stored run; keys that it lacks count as `with_absent` says.
      new: complete.
      ignored: keys that may differ.
    """
    old = with_absent(old)
    return [
        f"{key} is {old.get(key)!r} there and {new.get(key)!r} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key not in ignored
    ]


def config_hash(config: ConfigDict) -> str:
    """Returns 12 hex digits that name what the run computes, not where or by which program.

    A name within one version: a new key changes it. Configs are compared by `differences`.
    """
    left_out = {*PLACEMENT_KEYS, *PROGRAM_KEYS}
    kept = {k: v for k, v in flatten(config).items() if k not in left_out}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def parse_argument(
    argument: str, models: Iterable[str] | None = None, sizes: Sequence[str] = ()
) -> tuple[str, str, dict[str, str]]:
    """Returns (model, size or "", overrides) of the argument "MODEL[_SIZE][,key=value...]".

    Args:
      argument: what stands after FILE: on the command line.
      models: those that the config file has a preset of; None: all that classify images.
      sizes: that each of them has a preset of too.

    Raises:
      UserError: another form, or a preset that the file does not have.
    """
    name, *pairs = argument.split(",")
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"expected key=value after the model in '{argument}', found '{pair}'")
    size = next((size for size in sizes if name.endswith(f"_{size}")), "")
    if models is None:
        models = [known for known in MODEL_DEFAULTS if known not in SEGMENTERS]
    model, models = name.removesuffix(f"_{size}"), tuple(models)
    if model not in models:
        also = " or ".join(f"MODEL_{size}" for size in sizes)
        presets = f"{', '.join(models)}{also and f', each also as {also}'}"
        raise UserError(
            f"model '{name}' has no preset in this config; one of: {presets}{closest(name, models)}"
        )
    return model, size, dict(pair.split("=", 1) for pair in pairs)


def override(config: ConfigDict, key: str, text: str) -> None:
    """Sets the dotted `key` to the value written as `text`, of the type that the default has.

    Raises:
      UserError: unknown key (with the closest valid one), or text of another type.
    """
    flat = flatten(config)
    if key in FORMER_NAMES:
        former, (key, values) = key, FORMER_NAMES[key]
        text = values[_parse_value(former, text, next(iter(values)))]
    if key not in flat:
        raise unknown_key(key, flat.get("model.name", ""), flat)
    *parents, leaf = key.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    is_pair = key in EVERY_KEY and EVERY_KEY[key].pair
    with node.ignore_type():  # a pair may stand for a number
        node[leaf] = _parse_pair(key, text) if is_pair else _parse_value(key, text, node[leaf])


def _parse_pair(key: str, text: str) -> int | tuple[Any, ...]:
    """Returns a whole number, or what is written as two of them."""
    value = _literal(text)
    if isinstance(value, (list, tuple)):
        return tuple(value)
    return _parse_value(key, text, 0)


def _parse_value(key: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    if isinstance(default, tuple) and all(isinstance(element, str) for element in default):
        return _parse_texts(text)  # a tuple of numbers has one at least
    value = _literal(text.strip().capitalize() if isinstance(default, bool) else text)
    if isinstance(default, float) and type(value) is int:
        largest = 2**1023
        value = float(value) if abs(value) < largest else math.inf if value > 0 else -math.inf
    if isinstance(default, tuple) and isinstance(value, (list, tuple)):
        value = tuple(value)
    if type(value) is not type(default):
        expected = type(default).__name__
        raise UserError(
            f"config key '{key}' expects {expected} (such as {default}), found '{shown(text)}'"
        )
    return value


def _parse_texts(text: str) -> tuple[Any, ...]:
    """Returns the elements of "a,b" or "('a', 'b')"."""
    value = _literal(text)
    if isinstance(value, (list, tuple)):
        return tuple(value)
    text = value if isinstance(value, str) else text
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _literal(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
