"""Handwritten digits, 1,797 images of 8x8 that come with scikit-learn: no download.

    python -m crnn_jax.main --config=configs/digits.py:crnn --workdir=runs/digits_crnn

The argument is cnn, rnn, rnn_deep, lrcn, tsn, crnn or sequencer; expected accuracy and time are in
the README's table.
"""

from ml_collections import ConfigDict

from crnn_jax import config as defaults


def get_config(argument: str = "crnn") -> ConfigDict:
    """Returns the config of "MODEL[,key=value...]" for the digits."""
    model, _, overrides = defaults.parse_argument(argument)
    config = defaults.default_config(model)
    config.data.source = "digits"
    config.data.crop_padding = 1
    config.batch_size = 128
    config.duration = "60 epochs"
    config.eval.every = "10 epochs"
    config.checkpoint.every = "5 epochs"
    config.log.every = "2 epochs"
    config.optim.learning_rate = 4e-3
    config.optim.warmup = "5 epochs"
    config.optim.weight_decay = 0.05
    config.optim.label_smoothing = 0.1
    config.optim.ema_decay = 0.98
    config.eval.weights = "ema"
    config.model.dropout = 0.3
    if "width" in config.model:
        config.model.width = 48  # with these, chosen in results/tuning/digits_crnn.json
        config.model.stage_multipliers = (1, 2)
        config.model.num_conv_layers = 4
    if "hidden_units" in config.model:
        config.model.hidden_units = 128
    if model == "sequencer":
        config.model.depths, config.model.channels = (1, 2), (64, 128)
        config.model.patch_sizes = (2, 1)
    for key, text in overrides.items():
        defaults.override(config, key, text)
    return config
