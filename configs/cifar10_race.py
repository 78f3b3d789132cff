"""CIFAR-10 against the clock: the shortest training that reaches 94% of the test split.

    python -m crnn_jax.studies.race --target=0.94 --runs=10

The argument is crnn or cnn (any model works). A run's duration is fixed beforehand: nothing stops
it early, nothing is evaluated or saved on the way, and every run compiles its programs itself, so
that seconds with compilation mean what they say. Results are in results/race_*.json.
"""

from ml_collections import ConfigDict

from crnn_jax import config as defaults


def get_config(argument: str = "crnn") -> ConfigDict:
    """Returns the config of "MODEL[,key=value...]" for the race."""
    model, _, overrides = defaults.parse_argument(argument)
    config = defaults.default_config(model)
    config.data.source = "tfds:cifar10"
    config.data.crop_padding = 2
    config.data.flip = True
    config.batch_size = 1024
    config.duration = "10 epochs"
    config.precision = "bfloat16"
    config.compile_cache = False
    config.eval.every = "0 steps"
    config.eval.batch_size = 2000
    config.checkpoint.every = "10 epochs"  # the last step's alone
    config.checkpoint.keep_best = False
    config.log.every = "10 epochs"
    config.log.tensorboard = False
    config.optim.learning_rate = 8e-3
    config.optim.schedule = "linear"
    config.optim.warmup = "2 epochs"
    config.optim.weight_decay = 0.1
    config.optim.label_smoothing = 0.1
    if "width" in config.model:
        config.model.width = 64
        config.model.stage_multipliers = (1, 4, 4)
        config.model.num_conv_layers = 6
    for key, text in overrides.items():
        defaults.override(config, key, text)
    return config
