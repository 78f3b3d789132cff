"""A small folder of your own images, from the weights of a run on other images.

    python -m crnn_jax.main --config=configs/finetune.py:crnn,init.from=runs/cifar10_crnn \\
        --config.data.source=folder:photos --workdir=runs/photos

The argument is the model of that run: cnn, rnn, rnn_deep, lrcn, tsn, crnn or sequencer. With
init.from there, the sizes of the model and of the images are that run's, and so is the precision,
where the device is as fast in it (precision=auto, of a run in bfloat16); given later, as
--config.init.from=..., it must be a run of the sizes of configs/cifar10.py:MODEL_small. The head is
made anew. docs/finetune.md says what to choose.

`crnn,recipe=probe,init.from=...` trains the head alone (a linear probe): a few seconds an epoch
less, and less to overfit with; worth a first look at what the features know.
"""

from ml_collections import ConfigDict

from crnn_jax import config as defaults
from crnn_jax.errors import UserError

RECIPES = ("finetune", "probe")


def get_config(argument: str = "crnn") -> ConfigDict:
    """Returns the config of "MODEL[,recipe=probe][,init.from=WORKDIR][,key=value...]"."""
    model, _, overrides = defaults.parse_argument(argument)
    config = defaults.default_config(model)
    config.data.source = "folder:PATH"
    config.data.image_size = 32
    config.data.crop_padding = 4
    config.data.flip = "random"
    config.data.cutout = 8
    config.batch_size = 50
    config.duration = "30 epochs"
    config.eval.every = "0 steps"
    config.checkpoint.every = "10 epochs"
    config.log.every = "2 epochs"
    config.optim.learning_rate = 2e-3
    config.optim.warmup = "2 epochs"
    config.optim.weight_decay = 0.05
    config.optim.label_smoothing = 0.1
    config.init.skip = ("head/*",)
    config.init.layer_decay = 0.7
    _size_as_cifar10(config)
    if "init.from" in overrides:
        _size_as_run(config, overrides["init.from"])
    recipe = overrides.pop("recipe", "finetune")
    if recipe not in RECIPES:
        raise UserError(f"recipe expects one of {', '.join(RECIPES)}, found '{recipe}'")
    if recipe == "probe":
        _make_probe(config)
    for key, text in overrides.items():
        defaults.override(config, key, text)
    return config


def _make_probe(config: ConfigDict) -> None:
    """Freezes all that lies below the head, which then bears a higher rate and needs no decay."""
    config.init.layer_decay = 1.0
    config.optim.learning_rate = 1e-2
    config.optim.weight_decay = 0.0
    below = ("trunk/*",) if "width" in config.model else ()
    if config.model.name == "rnn_deep":
        below = ("columns_*", "rows_*")
    elif config.model.name == "sequencer":
        below = ("embed_*", "block_*", "norm/*")
    elif "hidden_units" in config.model:
        below += ("recurrent/*",)
    config.init.freeze = below


def _size_as_cifar10(config: ConfigDict) -> None:
    """Takes the sizes of configs/cifar10.py:MODEL_small."""
    if "width" in config.model:
        config.model.width = 24
        config.model.stage_multipliers = (1, 4, 4)
        config.model.num_conv_layers = 6
        config.model.whiten_size = 2
        config.model.norm_momentum = 0.9
    if config.model.name == "rnn_deep":
        config.model.patch_sizes = (4, 2)
    if config.model.name == "sequencer":
        config.model.depths, config.model.channels = (2, 4), (48, 96)
        config.model.patch_sizes = (2, 2)


def _size_as_run(config: ConfigDict, source: str) -> None:
    """Takes the sizes of the run, the file or the model of the package."""
    from crnn_jax.weights import sizes

    model, precision, shape = sizes(source)
    if model["name"] != config.model.name:
        raise UserError(
            f"config key 'init.from' expects a run of model '{config.model.name}', found "
            f"'{model['name']}' in '{source}': use configs/finetune.py:{model['name']}"
        )
    for name, value in model.items():
        if f"model.{name}" not in defaults.SHAPELESS_KEYS:
            config.model[name] = value
    # A float32 run has no rounding to lose; a bfloat16 one may come from a faster machine.
    config.precision = "auto" if precision == "bfloat16" else precision
    if shape is not None and len(shape) == 3:
        height, width = shape[:2]
        size = str(height) if height == width else f"({height}, {width})"
        defaults.override(config, "data.image_size", size)
