"""CIFAR-10 from array_record files in TFDS layout (python -m crnn_jax.data.prepare cifar10).

    python -m crnn_jax.main --config=configs/cifar10.py:crnn --workdir=runs/cifar10_crnn

The argument is cnn, rnn, rnn_deep, lrcn, tsn or crnn; MODEL_small is sized for a CPU. Expected of
it on 2 cores, test accuracy and minutes, one seed each (results/table1_cifar10_cpu.md): cnn 90.7%
in 24, rnn 74.7% in 6, rnn_deep 82.2% in 28, lrcn 87.5% in 15, tsn 88.2% in 17, crnn 91.1% in 22.
The others are sized for a GPU; none has been trained to its end yet.

`crnn,recipe=paper` is the paper's recipe where it states one: the GRU of Cho et al., the raster of
cells as a reading of "flattened", Adam at a constant rate, dropout, mean and standard deviation; no
norm, no augmentation, no schedule.
"""

from ml_collections import ConfigDict

from crnn_jax import config as defaults
from crnn_jax.errors import UserError

RECIPES: dict[str, dict[str, str]] = {
    "best": {},
    "paper": {
        "model.cell": "gru_cho",
        "model.sequence": "raster",
        "model.norm": "False",
        "model.norm_momentum": "0.9",
        "model.whiten_size": "0",
        "model.conv_init": "he_normal",
        "model.dropout": "0.5",
        "data.crop_padding": "0",
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
    ("a row of cells a step", ("model.sequence",)),
    ("reset gate after the matmul", ("model.cell",)),
    ("warm-up and decay", ("optim.schedule", "optim.warmup")),
    ("the optimizer", ("optim.name", "optim.learning_rate", "optim.weight_decay")),
    ("whitening first layer", ("model.whiten_size",)),
    ("convolutions that start as the identity", ("model.conv_init",)),
    ("label smoothing", ("optim.label_smoothing",)),
    ("less dropout", ("model.dropout",)),
)


def get_config(argument: str = "crnn") -> ConfigDict:
    """Returns the config of "MODEL[_small][,key=value...]" for CIFAR-10."""
    model, small, overrides = defaults.parse_argument(argument)
    config = defaults.default_config(model)
    config.data.source = "tfds:cifar10"
    config.data.crop_padding = 2
    config.data.flip = "random"
    config.batch_size = 256
    config.duration = "60 epochs"
    config.precision = "bfloat16"
    config.log.every = "20 steps"
    config.optim.learning_rate = 4e-3
    config.optim.warmup = "1 epochs"
    config.optim.weight_decay = 0.2  # a short schedule needs more of it than a long one
    config.model.dropout = 0.3
    config.optim.label_smoothing = 0.1
    if "width" in config.model:
        config.model.width = 64
        config.model.stage_multipliers = (1, 4, 4)
        config.model.num_conv_layers = 6
    if model == "rnn_deep":
        config.model.patch_sizes = (2, 2, 2)
        config.model.hidden_units = 256
        config.optim.weight_decay = 0.05  # no BatchNorm makes up for smaller weights here
        config.optim.clip_norm = 1.0
    if small:
        _make_small(config)
    recipe = overrides.pop("recipe", "best")
    if recipe not in RECIPES:
        raise UserError(f"recipe expects one of {', '.join(RECIPES)}, found '{recipe}'")
    known = defaults.flatten(config)  # a recipe speaks of all models: the CNN has no cell
    changes = {key: text for key, text in RECIPES[recipe].items() if key in known}
    for key, text in {**changes, **overrides}.items():
        defaults.override(config, key, text)
    return config


# Of the presets for a CPU: epochs, less than 40 minutes on 2 cores, and the learning rate, which is
# chosen for each row from the same trials (results/tuning/).
_SMALL = {
    "cnn": (12, 0.2),
    "crnn": (12, 0.1),
    "lrcn": (6, 0.2),
    "tsn": (8, 0.2),
    "rnn": (16, 0.1),
    "rnn_deep": (8, 0.2),
}


def _make_small(config: ConfigDict) -> None:
    """Narrows the model and takes what the fastest trainings take: Muon and a whitening layer."""
    config.batch_size = 500
    epochs, config.optim.learning_rate = _SMALL[config.model.name]
    config.duration = f"{epochs} epochs"
    config.precision = "float32"
    config.data.flip = "alternating"
    config.optim.name = "muon"
    config.optim.muon_adamw_learning_rate = 5e-3
    config.optim.momentum = 0.8
    config.optim.weight_decay = 0.05
    config.optim.schedule = "linear"
    config.optim.warmup = "0.2 epochs"
    config.model.dropout = 0.0
    if "width" in config.model:
        config.model.width = 24
        config.model.whiten_size = 2
        config.model.conv_init = "dirac"
        config.model.norm_momentum = 0.8
    if config.model.name == "rnn_deep":
        config.model.patch_sizes = (4, 2)
        config.model.hidden_units = 128
