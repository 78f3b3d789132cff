"""Scenes of several handwritten digits among clutter: the class of every pixel; no download.

    python -m crnn_jax.main --config=configs/digit_scenes.py:reseg --workdir=runs/digit_scenes

The argument is reseg; expected mean IoU and time are in docs/segmentation.md.
"""

from ml_collections import ConfigDict

from crnn_jax import config as defaults


def get_config(argument: str = "reseg") -> ConfigDict:
    """Returns the config of "MODEL[,key=value...]" for the scenes of digits."""
    model, _, overrides = defaults.parse_argument(argument, defaults.SEGMENTERS)
    config = defaults.default_config(model)
    config.task = "segmentation"
    config.data.source = "digit_scenes"
    config.data.crop_padding = 4
    config.batch_size = 50
    config.duration = "34 epochs"
    config.eval.every = "5 epochs"
    config.checkpoint.every = "5 epochs"
    config.log.every = "1 epochs"
    config.optim.name = "muon"
    config.optim.learning_rate = 0.03
    config.optim.muon_adamw_learning_rate = 5e-3
    config.optim.momentum = 0.8
    config.optim.schedule = "linear"
    config.optim.warmup = "1 epochs"
    config.optim.weight_decay = 0.05
    config.optim.ema_decay = 0.99
    config.eval.weights = "ema"
    if "width" in config.model:
        config.model.width = 32
        config.model.stage_multipliers = (1, 2)
        config.model.num_conv_layers = 4
    if "hidden_units" in config.model:
        config.model.hidden_units = 64
    for key, text in overrides.items():
        defaults.override(config, key, text)
    return config
