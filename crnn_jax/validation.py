"""Checks a config before any data or device work; each mistake is one line that names its key.

Each value by its key's declaration (`crnn_jax.config`), then the few rules between keys.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.config import flatten, keys_of
from crnn_jax.config.durations import steps
from crnn_jax.config.key import check_type, check_value, shown
from crnn_jax.config.registries import task_keys
from crnn_jax.config.values import check_names
from crnn_jax.errors import UserError

_Flat = dict[str, Any]


def validate(config: ConfigDict) -> None:
    """Checks every value that can be checked without data or devices.

    Raises:
      UserError: names the key, what it expects and what was found.
    """
    flat = flatten(config)
    check_names(flat)
    keys = keys_of(flat["model.name"])
    for name, key in keys.items():
        check_type(name, key, flat[name])
    for name in sorted(keys, key=lambda name: keys[name].is_registry):  # what imports JAX last
        check_value(name, keys[name], flat[name])
    for rule in _RULES:
        rule(flat)
    check_task(flat, {name: key.default for name, key in keys.items()}, task_keys())


def check_task(
    flat: _Flat, defaults: Mapping[str, Any], keys_by_task: Mapping[str, Iterable[str]]
) -> None:
    """Checks that no key is set that other tasks read and `flat["task"]` does not.

    Args:
      flat: every key of a config.
      defaults: likewise.
      keys_by_task: the keys that only some tasks read, of each task; one that none reads is shared.

    Raises:
      UserError: such a key differs from its default.
    """
    task = flat["task"]
    of_tasks = {name for names in keys_by_task.values() for name in names}
    for name in sorted(of_tasks.intersection(flat) - set(keys_by_task[task])):
        default = list(d) if isinstance(d := defaults[name], tuple) else d
        if flat[name] != default:
            raise UserError(
                f"config key '{name}' is not read by task '{task}': expected its default "
                f"{default}, found {shown(flat[name])}; set it to that, or change 'task'"
            )


def _check_duration(flat: _Flat) -> None:
    if steps(flat["duration"], 1, 1) == 0:
        found = shown(flat["duration"])
        raise UserError(f"config key 'duration' expects more than 0, found '{found}'")


def _check_dispatch(flat: _Flat) -> None:
    if flat["steps_per_dispatch"] > 1 and flat["data.pipeline"] != "resident":
        raise UserError(
            "config key 'steps_per_dispatch' expects 0 or 1 with data.pipeline="
            f"{flat['data.pipeline']}, whose batches come from the host one by one; found "
            f"{flat['steps_per_dispatch']}"
        )


def _check_mesh(flat: _Flat) -> None:
    if flat["mesh.data"] == 0:
        raise UserError("config key 'mesh.data' expects -1 (all) or 1 or more, found 0")


def _check_batch_size(flat: _Flat) -> None:
    if (flat["batch_size"] == 0) == (flat["batch_size_per_device"] == 0):
        raise UserError(
            "config keys 'batch_size' (global) and 'batch_size_per_device' expect one above 0 and "
            f"the other 0, found {flat['batch_size']} and {flat['batch_size_per_device']}"
        )


def _check_weights(flat: _Flat) -> None:
    if flat["optim.name"] == "adam" and flat["optim.weight_decay"] > 0:
        raise UserError(
            "config key 'optim.name' is 'adam', which has no weight decay: choose 'adamw', or set "
            f"'optim.weight_decay' to 0, found {flat['optim.weight_decay']}"
        )
    if flat["eval.weights"] == "ema" and flat["optim.ema_decay"] == 0:
        raise UserError(
            "config key 'eval.weights' is 'ema': set 'optim.ema_decay' above 0, found 0.0"
        )


def _check_reproducible(flat: _Flat) -> None:
    if not flat["reproducible"]:
        return
    for key in ("mesh.fsdp", "mesh.model", "optim.accumulation_steps", "steps_per_dispatch"):
        if flat[key] > 1:
            raise UserError(f"config key '{key}' expects 1 with 'reproducible', found {flat[key]}")
    batch_size, shards = flat["batch_size"], flat["logical_shards"]
    if batch_size == 0 or batch_size % shards != 0:
        raise UserError(
            f"config key 'batch_size' expects a multiple of 'logical_shards' ({shards}) with "
            f"'reproducible', found {batch_size}"
        )


def _check_crop(flat: _Flat) -> None:
    size, short_side, crop = flat["data.image_size"], flat["data.short_side"], flat["data.crop"]
    if crop == "none":
        return
    if flat["data.pipeline"] != "streaming":
        raise UserError(
            f"config key 'data.crop' is '{crop}', another part of each image in each epoch: set "
            f"'data.pipeline' to 'streaming', found '{flat['data.pipeline']}'"
        )
    if not isinstance(size, int):
        raise UserError(
            f"config key 'data.image_size' expects one number with data.crop={crop}, which makes "
            f"squares, found {shown(size)}"
        )
    if size == 0:
        raise UserError(f"config key 'data.crop' is '{crop}': set 'data.image_size', found 0")
    if 0 < short_side < size:
        raise UserError(
            f"config key 'data.short_side' expects at least 'data.image_size' ({size}) or 0, "
            f"found {short_side}"
        )


def _check_bit_depth(flat: _Flat) -> None:
    if 0 < flat["data.bit_depth"] < 9:
        raise UserError(
            "config key 'data.bit_depth' expects 9 to 16, of samples of 16 bits, or 0 for all of "
            f"them, found {flat['data.bit_depth']}"
        )


def _check_stages(flat: _Flat) -> None:
    if "model.num_conv_layers" not in flat:
        return
    layers, stages = flat["model.num_conv_layers"], len(flat["model.stage_multipliers"])
    if layers < stages:
        raise UserError(
            f"config key 'model.num_conv_layers' expects at least one a stage ({stages}, "
            f"from 'model.stage_multipliers'), found {layers}"
        )


def _check_depths(flat: _Flat) -> None:
    if "model.depths" not in flat:
        return
    stages = len(flat["model.depths"])
    for key in ("model.channels", "model.patch_sizes"):
        if len(flat[key]) != stages:
            raise UserError(
                f"config key '{key}' expects one number a stage ({stages}, from 'model.depths'), "
                f"found {len(flat[key])}"
            )


def _check_init(flat: _Flat) -> None:
    if flat["init.skip"] and not flat["init.from"]:
        raise UserError(
            f"config key 'init.skip' is {shown(flat['init.skip'])}, what is not taken from "
            "'init.from': set that to the workdir of a run, found ''"
        )


def _check_implementation(flat: _Flat) -> None:
    if "model.implementation" not in flat:
        return
    from crnn_jax.models.recurrent.implementations import IMPLEMENTATIONS

    name, cell = flat["model.implementation"], flat["model.cell"]
    if name == "auto":
        return
    cells, has_remat = IMPLEMENTATIONS[name].cells, IMPLEMENTATIONS[name].remat
    if cell not in cells:
        expected = "' or '".join(cells)
        raise UserError(
            f"config key 'model.implementation' is '{name}', which runs other cells: set "
            f"'model.cell' to '{expected}', found '{cell}', or choose 'auto'"
        )
    if "model.remat" in flat and flat["model.remat"] and not has_remat:
        raise UserError(
            f"config key 'model.implementation' is '{name}', which keeps its gates: set "
            "'model.remat' to False, found True"
        )


def _check_balance(flat: _Flat) -> None:
    if flat["data.sampling"] == flat["optim.class_weights"] == "balanced":
        raise UserError(
            "config keys 'data.sampling' and 'optim.class_weights' expect that one of them is "
            "'balanced', found both: a rare class would count twice"
        )


def _check_patience(flat: _Flat) -> None:
    if flat["eval.patience"] > 0 and steps(flat["eval.every"], 1, 1) == 0:
        raise UserError(
            "config key 'eval.patience' counts validations: set 'eval.every' to more than 0, found "
            f"'{flat['eval.every']}'"
        )


_RULES = (
    _check_duration,
    _check_dispatch,
    _check_mesh,
    _check_batch_size,
    _check_weights,
    _check_reproducible,
    _check_crop,
    _check_bit_depth,
    _check_stages,
    _check_depths,
    _check_init,
    _check_balance,
    _check_patience,
    _check_implementation,
)
