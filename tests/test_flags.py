"""Config files, overrides, and the messages of mistakes in them."""

import pytest

from crnn_jax import flags as cli
from crnn_jax.errors import UserError

DIGITS = "configs/digits.py:crnn"


@pytest.mark.smoke
def test_overrides_apply():
    overrides = cli.parse_overrides(["--config.seed=3", "--config.optim.learning_rate", "0.5"])
    config = cli.resolve_config(DIGITS, overrides)
    assert config.seed == 3
    assert config.optim.learning_rate == 0.5


def test_argument_overrides_apply():
    assert cli.resolve_config(DIGITS + ",model.hidden_units=7", {}).model.hidden_units == 7


@pytest.mark.parametrize("model", ["cnn", "rnn", "lrcn", "tsn", "crnn", "crnn_small"])
@pytest.mark.parametrize("file", ["configs/digits.py", "configs/cifar10.py"])
def test_shipped_configs_are_valid(file, model):
    config = cli.resolve_config(f"{file}:{model}", {})
    assert config.model.name == model.removesuffix("_small")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("configs/digit.py:crnn", "did you mean 'configs/digits.py'"),
        ("configs/digits.py:crn", "did you mean 'crnn'"),
        ("configs/cifar10.py:crnn,recipe=papr", "recipe expects one of best, adamw, paper"),
        ("crnn_jax/errors.py:crnn", "get_config"),
    ],
)
def test_config_file_mistakes(name, message):
    with pytest.raises(UserError, match=message):
        cli.resolve_config(name, {})


@pytest.mark.parametrize("argument", ["--seed=1", "--config.seed", "config.seed=1"])
def test_wrong_flags(argument):
    with pytest.raises(UserError, match="expected"):
        cli.parse_overrides([argument])


def test_the_papers_recipe():
    config = cli.resolve_config("configs/cifar10.py:crnn,recipe=paper,optim.learning_rate=0.5", {})
    assert config.model.cell == "gru_cho"
    assert config.optim.name == "adam"
    assert config.optim.learning_rate == 0.5  # what is written after it wins
    assert cli.resolve_config("configs/cifar10.py:cnn,recipe=paper", {}).optim.name == "adam"


def test_what_fast_trainings_want_is_off_in_the_plain_recipe():
    """benchmarks/step.py copies this network to PyTorch."""
    config = cli.resolve_config("configs/cifar10.py:crnn_small,recipe=adamw,model.width=32", {})
    assert (config.optim.name, config.optim.schedule) == ("adamw", "cosine")
    assert (config.model.whiten_size, config.model.conv_init) == (0, "he_normal")
