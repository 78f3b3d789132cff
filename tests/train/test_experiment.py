"""Which recurrent layer a run has."""

import jax.numpy as jnp

from crnn_jax.config import default_config
from crnn_jax.train import experiment


def test_auto_becomes_the_fastest_for_what_the_layer_reads(monkeypatch):
    asked = []

    def fastest(*shape, remat):
        asked.append((*shape, remat))
        return "fused"

    monkeypatch.setattr(experiment, "fastest", fastest)
    config = default_config("crnn")

    def resolved():
        return experiment.resolve_implementation(config, (32, 32, 3), 2).model.implementation

    assert resolved() == "fused"
    assert config.model.implementation == "auto"
    steps = 4  # what the last map has
    shape = ("gru", steps, config.model.hidden_units, config.batch_size // 2, jnp.float32)
    config.model.remat = True
    resolved()
    assert asked == [(*shape, False), (*shape, True)]
    config.model.implementation = "hoisted"
    assert resolved() == "hoisted"
