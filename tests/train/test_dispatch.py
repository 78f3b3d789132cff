"""How many steps a program has: asked for, chosen, or kept."""

import pytest

from crnn_jax.config import default_config
from crnn_jax.train.dispatch import round_up, settle, steps_per_dispatch


def config_of(steps, pipeline="resident"):
    config = default_config("rnn")
    config.steps_per_dispatch, config.data.pipeline = steps, pipeline
    return config


@pytest.mark.parametrize(
    ("steps", "pipeline", "backend", "expected"),
    [
        (0, "resident", "cpu", 1),
        (3, "resident", "cpu", 3),
        (0, "streaming", "gpu", 1),
        (0, "resident", "unheard-of", 1),
    ],
)
def test_choice(steps, pipeline, backend, expected):
    assert steps_per_dispatch(config_of(steps, pipeline), backend) == expected


def test_an_accelerator_takes_several_steps_at_once():
    assert steps_per_dispatch(config_of(0), "gpu") > 1


def test_a_resumed_run_keeps_its_choice():
    config = config_of(0)
    assert settle(config, None).steps_per_dispatch == 1
    assert settle(config, config_of(16)).steps_per_dispatch == 16
    assert settle(config_of(2), config_of(16)).steps_per_dispatch == 2  # refused later
    assert config.steps_per_dispatch == 0


def test_round_up():
    assert [round_up(n, 4) for n in (0, 1, 4, 5)] == [0, 4, 4, 8]
    assert round_up(7, 1) == 7
