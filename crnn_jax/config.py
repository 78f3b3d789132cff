"""Every default of the project, each defined once; presets, overrides and durations.

A config is an `ml_collections.ConfigDict`. `config.model` holds the keys of the chosen model and no
others, so that a key that the model does not have is an error and never silently ignored; the keys
are the fields of the model's Flax module.
"""

import ast
import hashlib
import json
import math
import re
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.errors import UserError, closest

# The convolutional trunk that CNN, LRCN, TSN and CRNN share.
_TRUNK = dict(
    width=64,  # channels of the first stage
    stage_multipliers=(1, 2, 4),  # channels of each stage / width; each stage halves the map
    num_conv_layers=6,  # 3x3 convolutions in all, spread evenly over the stages
    norm=True,  # BatchNorm after each convolution
    norm_momentum=0.9,  # what its running statistics keep each step; short runs need less
    norm_scale=True,  # a trained scale beside its trained bias
    activation="relu",  # relu | gelu
    conv_init="he_normal",  # he_normal | dirac (the first channels start as the identity)
    whiten_size=0,  # patch side of a fixed whitening layer before all others; 0: none; airbench: 2
)
_RECURRENT = dict(
    cell="gru",  # elman (Eq. 1) | gru | gru_cho (reset gate before the matmul) | lstm | mingru
    hidden_units=256,
    num_recurrent_layers=1,
    bidirectional=False,
    # auto (measured fastest; resolved before training) | scan | hoisted (input projection of all
    # steps in one matmul) | associative (all steps at once; mingru alone) | fused (all steps in one
    # kernel; gru on a GPU, elsewhere as hoisted)
    implementation="auto",
    remat=False,  # compute steps again in the backward pass: less memory for long sequences
    readout="last",  # what is classified: last (state; lrcn: every step's) | mean | attention
)
_HEAD = dict(
    dropout=0.0,  # probability, before the last fully connected layer
    logit_scale=1.0,  # by which its scores are multiplied
)

MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    "cnn": {**_TRUNK, **_HEAD},
    "rnn": {**_RECURRENT, **_HEAD, "tokens": "rows", "patch_size": 4},  # tokens: rows | patches
    "rnn_deep": {
        "cell": "gru",
        "hidden_units": 128,  # of each direction
        "patch_sizes": (2, 2),  # side of each layer's patches; the first are of pixels
        "implementation": "auto",
        **_HEAD,
    },
    "lrcn": {
        **_TRUNK,
        **_RECURRENT,
        **_HEAD,
        "cell": "lstm",
        "num_frames": 4,  # T overlapping bands of the image
        "frame_height": 0.5,  # of a band, as a fraction of the image's height
    },
    "tsn": {
        **_TRUNK,
        **_HEAD,
        "num_segments": 3,  # K
        "snippet_height": 0.5,  # of a snippet, as a fraction of the image's height
        "consensus": "mean",  # mean | max | learned
    },
    "crnn": {**_TRUNK, **_RECURRENT, **_HEAD, "sequence": "rows"},  # rows | columns | raster
    "reseg": {
        **_TRUNK,
        **dict(cell="gru", hidden_units=64, implementation="auto", decoder_width=16),
        "patch_sizes": (1,),  # the first are of the trunk's last map
        **_HEAD,
    },
}

# Every default that all models share.
_DEFAULTS: dict[str, Any] = dict(
    seed=0,  # initialisation, order, augmentation, dropout and held-out splits
    task="classification",
    batch_size=128,  # global, over all devices and processes; 0: from batch_size_per_device
    batch_size_per_device=0,  # of the axes data and fsdp; one of the two must be 0
    duration="10 epochs",  # "N epochs" | "N steps" | "N examples"
    precision="float32",  # of the compute: float32 | bfloat16; parameters stay float32
    reproducible=False,  # equal bits on any number of devices of one kind (train/reproducible.py)
    logical_shards=8,  # of a batch, where reproducible: a multiple of the devices
    # Optimizer steps in one program (a scan), with resident data; 0: chosen for the device when the
    # run starts. All durations but the warm-up are rounded up to a multiple of it.
    steps_per_dispatch=0,
    compile_cache=True,  # keep compiled programs on disk, under data.cache_dir
    data=dict(
        source="digits",  # digits | digit_scenes | tfds:NAME | folder:PATH | masks:PATH
        dir="",  # of TFDS; empty: $TFDS_DATA_DIR, else TFDS's default folder
        cache_dir="",  # decoded images, programs; empty: $XDG_CACHE_HOME or ~/.cache/crnn_jax
        pipeline="resident",  # resident (in device memory) | streaming (Grain)
        validation=0.0,  # fraction of the training split held out for choices
        test_fraction=0.2,  # held out where the source has no test split of its own
        image_size=0,  # pixels; 0: as stored (all images must then have one size)
        crop_padding=0,  # pixels of reflected padding for random translation; 0: none
        flip="none",  # horizontal mirror: none | random | alternating, from one epoch to the next
        cutout=0,  # side in pixels of a square set to the mean; 0: none
        crop="none",  # of each image as it is decoded: none | random_resized | paper; streaming
        crop_min_area=0.08,  # of random_resized, as a fraction of the image
        short_side=0,  # pixels before paper's and the test's crop; 0: 8/7 of image_size
        mixup=0.0,  # alpha of the shares of two images and labels; 0: none
        cutmix=0.0,  # the same, by area; with both, each example has one of them
        erase=0.0,  # probability of a rectangle set to the mean
        rand_augment=0,  # operations on the colours of each image
        rand_augment_magnitude=9.0,  # 0..10
        skip_corrupt=False,  # keep the place of an unreadable image, with weight 0
        num_workers=0,  # decoding processes of the streaming pipeline
    ),
    optim=dict(
        name="adamw",  # adam | adamw | sgd | muon (matrices; all else, and the head, by adamw)
        learning_rate=1e-3,  # the peak
        schedule="cosine",  # constant | cosine | linear, after the warm-up
        warmup="0 steps",  # a duration, linear from 0
        weight_decay=0.0,  # decoupled for adamw and muon, L2 for sgd; never on norms and biases
        bias_learning_rate_multiplier=1.0,  # of biases, those of norms included
        head_learning_rate_multiplier=1.0,  # of the last fully connected layer's matrix
        momentum=0.9,  # sgd, muon
        nesterov=True,  # sgd, muon
        muon_iterations=5,  # of Newton and Schulz
        muon_adamw_learning_rate=1e-3,  # the peak of muon's adamw, on the same schedule
        b1=0.9,  # adam, adamw
        b2=0.999,  # adam, adamw
        lookahead_steps=0,  # between averages of the slow weights with the fast ones; 0: none
        lookahead_alpha=0.5,  # how far the slow weights move to the fast ones
        lookahead_ramp=0.0,  # alpha falls to that from 1, as (step / steps)^ramp; 0: constant
        clip_norm=0.0,  # largest global gradient norm; 0: no clipping
        label_smoothing=0.0,
        accumulation_steps=1,  # equal parts of a batch whose gradients are added, one at a time
        ema_decay=0.0,  # of parameters and batch statistics, per step; 0: no average
    ),
    eval=dict(
        every="1 epochs",  # on the validation part; "0 steps": only at the end
        batch_size=500,
        weights="last",  # last | ema: which weights are evaluated and reported
        tta="none",  # none | mirror | mirror_shift: a second accuracy, with test-time augmentation
        report="test",  # test | validation: evaluated at the end; choices must use validation
    ),
    checkpoint=dict(
        every="1 epochs",
        keep_latest=2,
        keep_best=True,  # also keep the best on the validation part
    ),
    log=dict(
        every="50 steps",  # metrics.jsonl and TensorBoard
        seconds=5.0,  # between progress lines where stdout is no terminal
        tensorboard=True,
        profile="",  # "10:20": trace these steps, counted from the start or resume; empty: none
    ),
    mesh=dict(
        data=-1,  # devices that split the batch and hold all parameters; -1: all that are left
        fsdp=1,  # devices that split the batch, the parameters and the optimizer's state
        model=1,  # devices that split wide recurrent and dense weights
        explain=False,  # print the sharding and the bytes a device of every array
        stuck_seconds=600.0,  # end a process of several that makes no step for so long; 0: never
    ),
)


def default_config(model: str) -> ConfigDict:
    """Returns the complete config of `model` with every default; training files change a few keys.

    Raises:
      UserError: no such model.
    """
    if model not in MODEL_DEFAULTS:
        valid = ", ".join(MODEL_DEFAULTS)
        raise UserError(
            f"model '{model}' is unknown; one of: {valid}{closest(model, MODEL_DEFAULTS)}"
        )
    return ConfigDict({**_DEFAULTS, "model": {"name": model, **MODEL_DEFAULTS[model]}})


# Keys that only place or report a run: they may change when a run is resumed.
PLACEMENT_KEYS = (
    "mesh.",
    "log.",
    "data.dir",
    "data.cache_dir",
    "data.num_workers",
    "compile_cache",
)


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns {"optim.learning_rate": 0.001, ...}: dotted key to value, tuples as lists."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= {f"{key}.{name}": leaf for name, leaf in flatten(value).items()}
        else:
            flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


# Keys that say by which program the same numbers are computed; settled when a run starts.
PROGRAM_KEYS = ("model.implementation", "steps_per_dispatch")


def config_hash(config: ConfigDict) -> str:
    """Returns 12 hex digits that name what the run computes, not where or by which program."""
    left_out = PLACEMENT_KEYS + PROGRAM_KEYS
    kept = {k: v for k, v in flatten(config).items() if not k.startswith(left_out)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def parse_argument(argument: str) -> tuple[str, bool, dict[str, str]]:
    """Returns (model, small, overrides) of the argument "MODEL[_small][,key=value...]"."""
    name, *pairs = argument.split(",")
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"expected key=value after the model in '{argument}', found '{pair}'")
    return (
        name.removesuffix("_small"),
        name.endswith("_small"),
        dict(p.split("=", 1) for p in pairs),
    )


def override(config: ConfigDict, key: str, text: str) -> None:
    """Sets the dotted `key` to the value written as `text`, of the type that the default has.

    Raises:
      UserError: unknown key (with the closest valid one), or text of another type.
    """
    flat = flatten(config)
    if key not in flat:
        raise UserError(f"config key '{key}' is unknown{closest(key, flat)}")
    *parents, leaf = key.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    node[leaf] = _parse_value(key, text, node[leaf])


def _parse_value(key: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text.strip().capitalize() if isinstance(default, bool) else text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, tuple) and isinstance(value, (list, tuple)):
        value = tuple(value)
    if type(value) is not type(default):
        expected = type(default).__name__
        raise UserError(
            f"config key '{key}' expects {expected} (such as {default}), found '{text}'"
        )
    return value


def steps(duration: str, num_examples: int, batch_size: int, key: str = "duration") -> int:
    """Returns how many steps the duration "N epochs|steps|examples" takes, rounded up.

    Raises:
      UserError: not exactly one number and one of the three units.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*(epoch|step|example)s?\s*", duration)
    try:
        count = float(match[1]) if match else math.nan
    except ValueError:
        count = math.nan
    if not match or math.isnan(count):
        raise UserError(
            f"config key '{key}' expects one number of epochs, steps or examples "
            f"(such as '10 epochs'), found '{duration}'"
        )
    # The epsilon keeps 0.1 epochs of 1,000 examples from becoming one step more by rounding.
    if match[2] == "step":
        return math.ceil(count)
    return math.ceil(count * (num_examples if match[2] == "epoch" else 1) / batch_size - 1e-9)


def profile_window(text: str) -> tuple[int, int] | None:
    """Returns (first, last) of "FIRST:LAST", steps counted from 1, or None for an empty text.

    Raises:
      UserError: not two numbers with 1 <= FIRST <= LAST.
    """
    if not text:
        return None
    match = re.fullmatch(r"([0-9]+):([0-9]+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(
            "config key 'log.profile' expects FIRST:LAST, the steps to trace (such as '10:20'), "
            f"found '{text}'"
        )
    return int(match[1]), int(match[2])
