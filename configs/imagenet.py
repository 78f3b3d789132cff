"""ImageNet at 224 pixels, prepared by `python -m crnn_jax.data.prepare imagenet2012 --help`.

    python -m crnn_jax.main --config=configs/imagenet.py:crnn --workdir=runs/imagenet_crnn

The argument is cnn, rnn, rnn_deep, lrcn, tsn, crnn or sequencer_s, _m, _l (`sequencer` is the
first). FLOPs and parameters of each are in docs/imagenet.md; nobody has trained them to the end
yet, so there is no accuracy to expect. The CRNN computes no more than ResNet-50 (4.1 G
multiply-adds, He et al. 2016) for an image. Trained weights of the Sequencers: docs/sequencer.md.

`crnn,hardware=8gpu` (the default) or tpu_v4_32, tpu_v5e_16, cpu: batch, learning rate, workers.
`crnn,recipe=paper` is what the paper states: resize to 256, random 224 crop, Adam, dropout; no
mirror, and the raster of cells as a reading of "flattened", as in configs/cifar10.py.
`crnn,recipe=low_resolution` trains and evaluates at 160 pixels, for half the compute. The size does
not change within a run: a row of the CRNN's map is one step, and its width is a parameter's shape.
"""

from ml_collections import ConfigDict

from crnn_jax import config as defaults
from crnn_jax.config.model_keys import SEQUENCER_DEPTHS
from crnn_jax.errors import UserError

# The learning rate grows with the square root of the batch, as the noise of Adam's steps suggests
# (Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms").
_BASE_BATCH, _BASE_RATE = 1024, 1e-3

HARDWARE: dict[str, dict[str, str]] = {
    "8gpu": {
        "batch_size": "1024",
        "data.num_workers": "48",
    },  # one host of 8 GPUs, 64 cores or more
    "tpu_v4_32": {"batch_size": "4096", "data.num_workers": "64"},  # 4 hosts of 4 chips
    "tpu_v5e_16": {"batch_size": "2048", "data.num_workers": "64"},  # 4 hosts of 4 chips
    "cpu": {"batch_size": "32", "data.num_workers": "1", "precision": "float32"},  # to look at
}
RECIPES: dict[str, dict[str, str]] = {
    "best": {},
    "paper": {
        "data.crop": "paper",
        "data.flip": "none",
        "data.mixup": "0.0",
        "data.cutmix": "0.0",
        "data.erase": "0.0",
        "model.cell": "gru_cho",
        "model.sequence": "raster",
        "model.dropout": "0.5",
        "model.norm": "False",
        "optim.name": "adam",
        "optim.schedule": "constant",
        "optim.warmup": "0 steps",
        "optim.weight_decay": "0.0",
        "optim.label_smoothing": "0.0",
        "optim.clip_norm": "0.0",
        "optim.ema_decay": "0.0",
        "eval.weights": "last",
    },
    "low_resolution": {"data.image_size": "160"},
}
# Widths at which the models with a trunk compute about as much as each other: LRCN and TSN look at
# several bands of half the image's height.
_WIDTH = {"cnn": 80, "crnn": 80, "lrcn": 56, "tsn": 64}
_SEQUENCERS = {"sequencer": "s", **{f"sequencer_{size}": size for size in SEQUENCER_DEPTHS}}
_STOCHASTIC_DEPTH = {"s": 0.1, "m": 0.2, "l": 0.4}
_MODELS = (*_WIDTH, "rnn", "rnn_deep", *_SEQUENCERS)


def get_config(argument: str = "crnn") -> ConfigDict:
    """Returns the config of "MODEL[,key=value...]" for ImageNet."""
    preset, _, overrides = defaults.parse_argument(argument, _MODELS)
    model = "sequencer" if preset in _SEQUENCERS else preset
    config = defaults.default_config(model)
    config.data.source = "tfds:imagenet2012"
    config.data.pipeline = "streaming"
    config.data.image_size = 224
    config.data.crop = "random_resized"
    config.data.flip = "random"
    config.data.mixup = 0.1
    config.data.cutmix = 1.0
    config.duration = "90 epochs"
    config.precision = "bfloat16"
    config.eval.batch_size = 1000
    config.eval.every = "5 epochs"
    config.log.every = "50 steps"
    config.optim.warmup = "5 epochs"
    config.optim.weight_decay = 0.05
    config.optim.label_smoothing = 0.1
    config.optim.clip_norm = 1.0
    config.optim.ema_decay = 0.9998
    config.eval.weights = "ema"
    config.model.dropout = 0.0 if model == "sequencer" else 0.2
    if "width" in config.model:
        config.model.width = _WIDTH[model]
        config.model.stage_multipliers = (0.5, 1, 2, 4, 8)  # 224 pixels become 7
        config.model.num_conv_layers = 15
    if "hidden_units" in config.model:
        config.model.hidden_units = 1024
    if model == "rnn":
        config.model.tokens, config.model.patch_size = "patches", 16
    if model == "rnn_deep":
        config.model.patch_sizes, config.model.hidden_units = (8, 2, 2), 256
    if model == "sequencer":
        size = _SEQUENCERS[preset]
        config.model.depths = SEQUENCER_DEPTHS[size]
        config.model.stochastic_depth = _STOCHASTIC_DEPTH[size]
    _apply(config, overrides)
    return config


def _apply(config: ConfigDict, overrides: dict[str, str]) -> None:
    known = defaults.flatten(config)  # a recipe speaks of all models: the CNN has no cell
    changes: dict[str, str] = {}
    for name, table, default in (("hardware", HARDWARE, "8gpu"), ("recipe", RECIPES, "best")):
        choice = overrides.pop(name, default)
        if choice not in table:
            raise UserError(f"{name} expects one of {', '.join(table)}, found '{choice}'")
        changes |= table[choice]
    changes |= {key: text for key, text in overrides.items() if key == "batch_size"}
    defaults.override(config, "batch_size", changes["batch_size"])
    if config.batch_size > 0:  # 0: from batch_size_per_device, by the devices of the run
        config.optim.learning_rate = _BASE_RATE * (config.batch_size / _BASE_BATCH) ** 0.5
    for key, text in {**{k: v for k, v in changes.items() if k in known}, **overrides}.items():
        defaults.override(config, key, text)
