"""CIFAR-10 against the clock: the shortest training that reaches 94% of the test split.

    python -m crnn_jax.studies.race --target=0.94 --runs=10

Expected on a CPU, one run: 92.9%, and 93.8% with test-time augmentation
(results/race_cifar10_race.md). It has not run on a GPU, which it is made for.

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
    config.data.flip = "alternating"
    config.batch_size = 2000
    config.duration = "10 epochs"
    config.precision = "bfloat16"
    config.compile_cache = False
    config.eval.every = "0 steps"
    config.eval.batch_size = 2000
    config.eval.tta = "mirror_shift"  # a second accuracy, apart; its seconds count as evaluation
    config.checkpoint.every = "100 epochs"  # the last step's alone
    config.checkpoint.keep_best = False
    config.log.every = "100 epochs"
    config.log.tracker = "none"
    config.optim.name = "muon"
    config.optim.learning_rate = 0.24
    config.optim.muon_adamw_learning_rate = 0.01
    config.optim.momentum = 0.6
    # At this rate the decay keeps a matrix's norm near that of its start, which airbench fixes.
    config.optim.weight_decay = 0.1
    config.optim.schedule = "linear"
    config.optim.warmup = "1 epochs"
    config.optim.label_smoothing = 0.2
    config.model.logit_scale = 1 / 9
    if "width" in config.model:
        config.model.width = 64
        config.model.stage_multipliers = (1, 4, 4)
        config.model.num_conv_layers = 6
        config.model.whiten_size = 2
        config.model.conv_init = "dirac"
        config.model.activation = "gelu"
        config.model.norm_momentum = 0.6
        config.model.norm_scale = False
    for key, text in overrides.items():
        defaults.override(config, key, text)
    return config
