"""Flags and overrides; what a mistake prints and how the process ends."""

import subprocess
import sys

import pytest

from crnn_jax import main as cli
from crnn_jax.errors import UserError

DIGITS = "configs/digits.py:crnn"


def run(*arguments):
    command = [sys.executable, "-m", "crnn_jax.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.smoke
def test_help_needs_no_jax():
    done = run("--help")
    assert done.returncode == 0
    assert "--config" in done.stdout
    # It answers within 2 s because nothing heavy is imported: that is what can be tested.
    code = "import sys, crnn_jax.main; sys.exit(any(m in sys.modules for m in ('jax', 'flax')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


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
    cli.resolve_config(f"{file}:{model}", {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("configs/digit.py:crnn", "did you mean 'configs/digits.py'"),
        ("configs/digits.py:crn", "did you mean 'crnn'"),
        ("crnn_jax/metrics.py:crnn", "get_config"),
    ],
)
def test_config_file_mistakes(name, message):
    with pytest.raises(UserError, match=message):
        cli.resolve_config(name, {})


@pytest.mark.parametrize("argument", ["--seed=1", "--config.seed", "config.seed=1"])
def test_wrong_flags(argument):
    with pytest.raises(UserError, match="expected"):
        cli.parse_overrides([argument])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=" + DIGITS, "--workdir=W", "--config.sed=1"], "did you mean 'seed'"),
        (["--config=" + DIGITS, "--workdir=W", "--config.batch_size=0"], "above 0"),
        (["--config=" + DIGITS], "--workdir"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    done = run(*(a.replace("=W", f"={tmp_path}/w") for a in arguments))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert not (tmp_path / "w").exists()
