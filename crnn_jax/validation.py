"""Checks a config before any data or device work; each mistake is one line that names its key."""

import math
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.config import default_config, flatten, profile_window, steps
from crnn_jax.errors import UserError, closest

TTA = ("none", "mirror", "mirror_shift")
_CHOICES = {
    "task": ("classification", "segmentation"),
    "precision": ("float32", "bfloat16"),
    "data.crop": ("none", "random_resized", "paper"),
    "data.pipeline": ("resident", "streaming"),
    "data.flip": ("none", "random", "alternating"),
    "model.activation": ("relu", "gelu"),
    "model.conv_init": ("he_normal", "dirac"),
    "model.cell": ("elman", "gru", "gru_cho", "lstm", "mingru"),
    "model.implementation": ("auto", "scan", "hoisted", "associative", "fused"),
    "model.readout": ("last", "mean", "attention"),
    "model.tokens": ("rows", "patches"),
    "model.sequence": ("rows", "columns", "raster"),
    "model.consensus": ("mean", "max", "learned"),
    "optim.name": ("adam", "adamw", "sgd", "muon"),
    "optim.schedule": ("constant", "cosine", "linear"),
    "eval.weights": ("last", "ema"),
    "eval.tta": TTA,
    "eval.report": ("test", "validation"),
}
_POSITIVE = (
    "eval.batch_size logical_shards optim.accumulation_steps optim.learning_rate mesh.fsdp "
    "mesh.model checkpoint.keep_latest model.width "
    "model.num_conv_layers model.hidden_units model.num_recurrent_layers model.patch_size "
    "model.num_frames model.frame_height model.num_segments model.snippet_height log.seconds "
    "model.logit_scale optim.bias_learning_rate_multiplier optim.head_learning_rate_multiplier "
    "optim.muon_iterations optim.muon_adamw_learning_rate optim.lookahead_alpha "
    "data.crop_min_area model.decoder_width"
).split()
_FRACTION = (  # 0 <= value < 1
    "data.validation data.test_fraction model.dropout optim.label_smoothing optim.ema_decay "
    "optim.momentum optim.b1 optim.b2 model.norm_momentum"
).split()
_NOT_NEGATIVE = (
    "seed steps_per_dispatch batch_size batch_size_per_device data.image_size data.crop_padding "
    "data.cutout data.num_workers optim.weight_decay optim.lookahead_steps optim.lookahead_ramp "
    "optim.clip_norm model.whiten_size mesh.stuck_seconds data.mixup "
    "data.cutmix data.erase data.rand_augment data.rand_augment_magnitude data.short_side"
).split()
_DURATIONS = ("duration", "optim.warmup", "eval.every", "checkpoint.every", "log.every")


def validate(config: ConfigDict) -> None:
    """Checks every value that can be checked without data or devices.

    Raises:
      UserError: names the key, what it expects and what was found.
    """
    flat = flatten(config)
    model = flat["model.name"]
    reference = default_config(model)  # raises for an unknown model
    defaults = flatten(reference)
    _check_keys_and_types(flat, defaults, model)
    for key, choices in _CHOICES.items():
        if key in flat and flat[key] not in choices:
            found = f"'{flat[key]}'{closest(flat[key], choices)}"
            raise UserError(
                f"config key '{key}' expects one of {', '.join(choices)}; found {found}"
            )
    for keys, low, expected in (
        (_POSITIVE, 1e-300, "a number above 0"),
        (_NOT_NEGATIVE, 0, "0 or more"),
        (_FRACTION, 0, "0 or more and below 1"),
    ):
        for key in keys:
            value = flat.get(key, low)  # a key that this model does not have is not checked
            if not math.isfinite(value) or value < low or (keys is _FRACTION and value >= 1):
                raise UserError(f"config key '{key}' expects {expected}, found {value}")
    if flat["seed"] >= 2**32:
        raise UserError(f"config key 'seed' expects less than 2**32, found {flat['seed']}")
    _check_batch_size(flat)
    for key in _DURATIONS:
        steps(flat[key], 1, 1, key)
    if steps(flat["duration"], 10**9, 1) == 0:
        raise UserError(f"config key 'duration' expects more than 0, found '{flat['duration']}'")
    profile_window(flat["log.profile"])
    if flat["steps_per_dispatch"] > 1 and flat["data.pipeline"] != "resident":
        raise UserError(
            "config key 'steps_per_dispatch' expects 0 or 1 with data.pipeline="
            f"{flat['data.pipeline']}, whose batches come from the host one by one; found "
            f"{flat['steps_per_dispatch']}"
        )
    _check_model(flat)
    _check_crop(flat)
    _check_augmentation(flat)
    _check_reproducible(flat)
    if flat["eval.report"] == "validation" and flat["data.validation"] == 0:
        raise UserError(
            "config key 'eval.report' is 'validation': set 'data.validation' above 0, found 0.0"
        )
    _check_optim(flat)


def _check_optim(flat: dict[str, Any]) -> None:
    if flat["optim.name"] == "adam" and flat["optim.weight_decay"] > 0:
        raise UserError(
            "config key 'optim.name' is 'adam', which has no weight decay: choose 'adamw', or set "
            f"'optim.weight_decay' to 0, found {flat['optim.weight_decay']}"
        )
    if flat["optim.lookahead_alpha"] > 1:
        raise UserError(
            "config key 'optim.lookahead_alpha' expects a fraction of at most 1, found "
            f"{flat['optim.lookahead_alpha']}"
        )
    if flat["eval.weights"] == "ema" and flat["optim.ema_decay"] == 0:
        raise UserError(
            "config key 'eval.weights' is 'ema': set 'optim.ema_decay' above 0, found 0.0"
        )


def _check_batch_size(flat: dict[str, Any]) -> None:
    if (flat["batch_size"] == 0) == (flat["batch_size_per_device"] == 0):
        raise UserError(
            "config keys 'batch_size' (global) and 'batch_size_per_device' expect one above 0 and "
            f"the other 0, found {flat['batch_size']} and {flat['batch_size_per_device']}"
        )


def _check_reproducible(flat: dict[str, Any]) -> None:
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


def _check_keys_and_types(flat: dict[str, Any], defaults: dict[str, Any], model: str) -> None:
    for key in flat.keys() - defaults.keys():
        raise UserError(
            f"config key '{key}' is unknown for model '{model}'{closest(key, defaults)}"
        )
    for key in defaults.keys() - flat.keys():
        raise UserError(
            f"config key '{key}' of model '{model}' is missing; choose the model as FILE:{model}"
        )
    for key, default in defaults.items():
        if type(flat[key]) is not type(default) and not (
            isinstance(default, float) and type(flat[key]) is int
        ):
            expected = type(default).__name__
            raise UserError(
                f"config key '{key}' expects {expected} (such as {default}), found {flat[key]!r}"
            )


def _check_augmentation(flat: dict[str, Any]) -> None:
    for key, largest in (("data.erase", 1), ("data.rand_augment_magnitude", 10)):
        if flat[key] > largest:
            raise UserError(f"config key '{key}' expects at most {largest}, found {flat[key]}")


def _check_crop(flat: dict[str, Any]) -> None:
    size, short_side, crop = flat["data.image_size"], flat["data.short_side"], flat["data.crop"]
    if crop == "none":
        return
    if flat["data.pipeline"] != "streaming":
        raise UserError(
            f"config key 'data.crop' is '{crop}', another part of each image in each epoch: set "
            f"'data.pipeline' to 'streaming', found '{flat['data.pipeline']}'"
        )
    if size == 0:
        raise UserError(f"config key 'data.crop' is '{crop}': set 'data.image_size', found 0")
    if 0 < short_side < size:
        raise UserError(
            f"config key 'data.short_side' expects at least 'data.image_size' ({size}) or 0, "
            f"found {short_side}"
        )
    if flat["data.crop_min_area"] > 1:
        raise UserError(
            "config key 'data.crop_min_area' expects a fraction of at most 1, found "
            f"{flat['data.crop_min_area']}"
        )


def _check_model(flat: dict[str, Any]) -> None:
    multipliers = flat.get("model.stage_multipliers", [1])
    if not multipliers or any(type(m) not in (int, float) or m <= 0 for m in multipliers):
        raise UserError(
            f"config key 'model.stage_multipliers' expects numbers above 0, found {multipliers}"
        )
    if flat.get("model.num_conv_layers", 99) < len(multipliers):
        raise UserError(
            f"config key 'model.num_conv_layers' expects at least one a stage ({len(multipliers)}, "
            f"from 'model.stage_multipliers'), found {flat['model.num_conv_layers']}"
        )
    patch_sizes = flat.get("model.patch_sizes", [1])
    if not patch_sizes or any(type(size) is not int or size < 1 for size in patch_sizes):
        raise UserError(
            f"config key 'model.patch_sizes' expects whole numbers above 0, found {patch_sizes}"
        )
    if flat.get("model.implementation") == "associative" and flat["model.cell"] != "mingru":
        raise UserError(
            "config key 'model.implementation' is 'associative', which needs a step that is linear "
            f"in the state: set 'model.cell' to 'mingru', found '{flat['model.cell']}', or choose "
            "'auto', 'scan' or 'hoisted'"
        )
    if flat.get("model.implementation") == "fused" and (
        flat["model.cell"] != "gru" or flat.get("model.remat", False)
    ):
        raise UserError(
            "config key 'model.implementation' is 'fused', a kernel of the GRU that keeps its "
            "gates: set 'model.cell' to 'gru' and 'model.remat' to False, found "
            f"'{flat['model.cell']}' and {flat.get('model.remat', False)}"
        )
    for key in ("model.frame_height", "model.snippet_height"):
        if flat.get(key, 1.0) > 1:
            raise UserError(
                f"config key '{key}' expects a fraction of at most 1, found {flat[key]}"
            )
