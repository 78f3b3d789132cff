"""CIFAR-10 from array_record files in TFDS layout (python -m crnn_jax.data.prepare cifar10).

    python -m crnn_jax.main --config=configs/cifar10.py:crnn --workdir=runs/cifar10_crnn

The argument is cnn, rnn, lrcn, tsn or crnn; MODEL_small is sized for a CPU. Expected accuracy and
time are in the README's table.
"""

from ml_collections import ConfigDict

from crnn_jax import config as defaults


def get_config(argument: str = "crnn") -> ConfigDict:
    """Returns the config of "MODEL[_small][,key=value...]" for CIFAR-10."""
    model, small, overrides = defaults.parse_argument(argument)
    config = defaults.default_config(model)
    config.data.source = "tfds:cifar10"
    config.data.crop_padding = 2
    config.data.flip = True
    config.batch_size = 256
    config.duration = "10 epochs" if small else "60 epochs"
    config.precision = "float32" if small else "bfloat16"
    config.log.every = "20 steps"
    config.optim.learning_rate = 4e-3
    config.optim.warmup = "1 epochs"
    config.optim.weight_decay = 0.05
    config.optim.label_smoothing = 0.1
    if "width" in config.model:
        config.model.width = 32 if small else 64
        config.model.stage_multipliers = (1, 4, 4)
        config.model.num_conv_layers = 6
    for key, text in overrides.items():
        defaults.override(config, key, text)
    return config
