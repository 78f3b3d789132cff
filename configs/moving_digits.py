"""Clips of digits that move in a circle, made from the embedded digits: no download.

    python -m crnn_jax.main --config=configs/moving_digits.py:crnn --workdir=runs/moving_digits_crnn

The argument is cnn, rnn, lrcn, tsn or crnn; the class is the motion, which no single frame shows.
Expected accuracy is in docs/video.md's table. `data.flip` and `eval.tta` must stay 'none', and
nothing else is accepted: a mirrored clip shows another motion. There is no translation either,
whose reflected border a digit that leaves on one side and enters on the other has not.
"""

from ml_collections import ConfigDict

from crnn_jax import config as defaults

_MODELS = ("cnn", "rnn", "lrcn", "tsn", "crnn")


def get_config(argument: str = "crnn") -> ConfigDict:
    """Returns the config of "MODEL[,key=value...]" for the moving digits."""
    model, _, overrides = defaults.parse_argument(argument, _MODELS)
    config = defaults.default_config(model)
    config.task = "video"
    config.data.source = "moving_digits"
    config.batch_size = 64
    config.duration = "16 epochs"
    config.eval.every = "4 epochs"
    config.checkpoint.every = "4 epochs"
    config.log.every = "1 epochs"
    config.optim.learning_rate = 3e-3
    config.optim.warmup = "2 epochs"
    config.optim.weight_decay = 0.05
    config.optim.clip_norm = 1.0
    config.model.dropout = 0.1
    if "width" in config.model:
        config.model.width = 16
        config.model.stage_multipliers = (1, 2, 4, 4)  # the last map is one cell
        config.model.num_conv_layers = 4
    if "hidden_units" in config.model:
        config.model.hidden_units = 128
    for key, text in overrides.items():
        defaults.override(config, key, text)
    return config
