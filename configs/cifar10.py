"""CIFAR-10 from array_record files in TFDS layout (python -m crnn_jax.data.prepare cifar10).

    python -m crnn_jax.main --config=configs/cifar10.py:crnn --workdir=runs/cifar10_crnn

The argument is cnn, rnn, rnn_deep, lrcn, tsn, crnn or sequencer; MODEL_small is sized for a CPU,
and MODEL_medium for 4e14 training FLOPs of one.
Expected of MODEL_small on 2 cores in float32, test accuracy and minutes, one seed each
(results/table1_cifar10_cpu.md): cnn 90.7% in 24, rnn 74.7% in 6, rnn_deep 82.2% in 28, lrcn 87.5%
in 15, tsn 88.2% in 17, crnn 91.1% in 22; cnn_medium 93.1%, rnn_medium 79.2%, rnn_deep_medium
86.8%, lrcn_medium 90.3%, tsn_medium 91.4%, crnn_medium 92.6% (results/table1_cifar10_cpu_long.md).
The sequencer (docs/sequencer.md) has not been trained to its end, nor tuned.
The others are the same recipe sized for a GPU, with more layers, channels, epochs and augmentation;
none has been trained to its end yet, and their learning rates are those of the small ones' trials.

`crnn,recipe=adamw` trains without what the records of CIFAR-10 brought: AdamW on a cosine, crops,
mirrors and dropout. `crnn,recipe=paper` is the paper's recipe where it states one: the GRU of Cho
et al., the raster of cells as a reading of "flattened", Adam at a constant rate, dropout, mean and
standard deviation; no norm, no augmentation, no schedule.
"""

from ml_collections import ConfigDict

from crnn_jax import config as defaults
from crnn_jax.errors import UserError

RECIPES: dict[str, dict[str, str]] = {
    "best": {},
    "adamw": {
        "batch_size": "500",
        "data.crop_padding": "2",
        "data.cutout": "0",
        "data.flip": "random",
        "model.conv_init": "he_normal",
        "model.dropout": "0.3",
        "model.norm_momentum": "0.9",
        "model.norm_scale": "True",
        "model.whiten_size": "0",
        "optim.name": "adamw",
        "optim.learning_rate": "0.004",
        "optim.schedule": "cosine",
        "optim.warmup": "1 epochs",
        "optim.weight_decay": "0.2",
    },
    "paper": {
        "batch_size": "500",
        "model.cell": "gru_cho",
        "model.sequence": "raster",
        "model.norm": "False",
        "model.norm_momentum": "0.9",
        "model.whiten_size": "0",
        "model.conv_init": "he_normal",
        "model.dropout": "0.5",
        "data.crop_padding": "0",
        "data.cutout": "0",
        "data.flip": "none",
        "optim.name": "adam",
        "optim.learning_rate": "0.001",
        "optim.schedule": "constant",
        "optim.warmup": "0 steps",
        "optim.weight_decay": "0.0",
        "optim.label_smoothing": "0.0",
    },
}

# From recipe=paper to recipe=best, one line a change, each on top of those above it: the keys that
# take their value from "best". studies/ablation.py trains them; together they are all that differs,
# and what does not differ in a preset is left out there.
CHANGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("BatchNorm", ("model.norm", "model.norm_momentum")),
    ("translation and mirror", ("data.crop_padding", "data.flip")),
    ("cutout", ("data.cutout",)),
    ("a row of cells a step", ("model.sequence",)),
    ("reset gate after the matmul", ("model.cell",)),
    ("warm-up and decay", ("optim.schedule", "optim.warmup")),
    ("the optimizer", ("optim.name", "optim.learning_rate", "optim.weight_decay")),
    ("whitening first layer", ("model.whiten_size",)),
    ("convolutions that start as the identity", ("model.conv_init",)),
    ("label smoothing", ("optim.label_smoothing",)),
    ("less dropout", ("model.dropout",)),
)


# The learning rate of Muon, which each row has from the same trials at the small size, on held-out
# images (results/tuning/). An orthogonal update moves a layer as far at any width, so that the
# large size has the same.
_LEARNING_RATES = {
    "cnn": 0.2, "crnn": 0.1, "lrcn": 0.2, "tsn": 0.2, "rnn": 0.1, "rnn_deep": 0.2,
    "sequencer": 0.1,  # no trials yet
}  # fmt: skip
# The small size takes less than 40 minutes on 2 cores, the large one up to 1e16 FLOPs.
_EPOCHS = {
    "cnn": 40, "crnn": 40, "lrcn": 30, "tsn": 40, "rnn": 60, "rnn_deep": 40, "sequencer": 40,
}  # fmt: skip
_SMALL_EPOCHS = {
    "cnn": 12, "crnn": 12, "lrcn": 6, "tsn": 8, "rnn": 16, "rnn_deep": 8, "sequencer": 8,
}  # fmt: skip
# At most 4e14 training FLOPs, which is what airbench94 takes (3.6e14), and its widths for the CNN
# and the CRNN; TSN and LRCN, whose images cost more, have narrower trunks and more epochs.
_MEDIUM_EPOCHS = {
    "cnn": 9, "crnn": 8.8, "lrcn": 7.7, "tsn": 10, "rnn": 44, "rnn_deep": 28, "sequencer": 30,
}  # fmt: skip
_MEDIUM_WIDTHS = {"cnn": 64, "crnn": 64, "lrcn": 48, "tsn": 48}


def get_config(argument: str = "crnn") -> ConfigDict:
    """Returns the config of "MODEL[_small|_medium][,key=value...]" for CIFAR-10."""
    model, size, overrides = defaults.parse_argument(argument, _LEARNING_RATES, tuple(_SIZES))
    config = defaults.default_config(model)
    config.data.source = "tfds:cifar10"
    config.data.flip = "alternating"
    config.batch_size = 500
    config.log.every = "20 steps"
    config.optim.name = "muon"
    config.optim.learning_rate = _LEARNING_RATES[model]
    config.optim.muon_adamw_learning_rate = 5e-3
    config.optim.momentum = 0.8
    config.optim.weight_decay = 0.05
    config.optim.schedule = "linear"
    config.optim.warmup = "0.2 epochs"
    config.optim.label_smoothing = 0.1
    if "width" in config.model:
        config.model.whiten_size = 2
        config.model.conv_init = "dirac"
    if model in ("rnn_deep", "sequencer"):
        config.optim.clip_norm = 1.0
    _SIZES.get(size, _make_large)(config)
    recipe = overrides.pop("recipe", "best")
    if recipe not in RECIPES:
        raise UserError(f"recipe expects one of {', '.join(RECIPES)}, found '{recipe}'")
    known = defaults.flatten(config)  # a recipe speaks of all models: the CNN has no cell
    changes = {key: text for key, text in RECIPES[recipe].items() if key in known}
    for key, text in {**changes, **overrides}.items():
        defaults.override(config, key, text)
    return config


def _make_small(config: ConfigDict) -> None:
    """Sizes the model and its training for 2 cores."""
    config.precision = "auto"
    config.duration = f"{_SMALL_EPOCHS[config.model.name]} epochs"
    config.data.crop_padding = 2
    if "width" in config.model:
        config.model.width = 24
        config.model.stage_multipliers = (1, 4, 4)
        config.model.num_conv_layers = 6
        config.model.norm_momentum = 0.8
    if config.model.name == "rnn_deep":
        config.model.patch_sizes = (4, 2)
        config.model.hidden_units = 128
    if config.model.name == "sequencer":
        config.model.depths, config.model.channels = (2, 4), (48, 96)
        config.model.patch_sizes = (2, 2)


def _make_medium(config: ConfigDict) -> None:
    """Sizes the model and its training for 4e14 FLOPs of 2 cores."""
    _make_small(config)
    config.duration = f"{_MEDIUM_EPOCHS[config.model.name]} epochs"
    if "width" in config.model:
        config.model.width = _MEDIUM_WIDTHS[config.model.name]
        # The optimizer and the norms of configs/cifar10_race.py (docs/decisions.md: the choice saw
        # a test accuracy); by trials on held-out images not its GELU, scale and label smoothing.
        config.batch_size = 2000
        config.log.every = "10 steps"
        config.model.norm_momentum = 0.6
        config.model.norm_scale = False
        config.optim.learning_rate = 0.24
        config.optim.momentum = 0.6
        config.optim.muon_adamw_learning_rate = 0.01
        config.optim.warmup = "1 epochs"
        config.optim.weight_decay = 0.1
    if config.model.name == "rnn":
        config.model.hidden_units = 512


def _make_large(config: ConfigDict) -> None:
    """Takes channels, depth and augmentation of airbench96 (Jordan 2024, arXiv 2404.00498)."""
    config.duration = f"{_EPOCHS[config.model.name]} epochs"
    config.precision = "bfloat16"
    config.data.crop_padding = 4
    if "width" in config.model:
        config.data.cutout = 12
        config.model.width = 128
        config.model.stage_multipliers = (1, 3, 4)
        config.model.num_conv_layers = 9
    if config.model.name == "rnn_deep":
        config.model.patch_sizes = (2, 2, 2)
        config.model.hidden_units = 256
    if config.model.name == "sequencer":
        config.data.cutout = 12
        config.model.channels = (96, 192, 192, 192)  # half of Sequencer2D-S, as deep
        config.model.patch_sizes = (2, 2, 1, 1)
        config.model.stochastic_depth = 0.1


_SIZES = {"small": _make_small, "medium": _make_medium}
