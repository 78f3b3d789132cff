"""Which recurrent layer a run has."""

import jax.numpy as jnp

from crnn_jax import models
from crnn_jax.config import default_config
from crnn_jax.train import experiment


def test_auto_becomes_the_fastest_for_what_the_layer_reads(monkeypatch):
    asked = []

    def fastest(*shape, remat):
        asked.append((*shape, remat))
        return "fused"

    monkeypatch.setattr(models, "fastest", fastest)
    config = default_config("crnn")

    def resolved(*image_shape):
        return experiment.resolve_implementation(config, image_shape, 2).model.implementation

    config.precision = "bfloat16"
    config.model.remat = True
    assert resolved(32, 32, 3) == "fused"
    assert config.model.implementation == "auto"
    units, batch = config.model.hidden_units, config.batch_size // 2
    assert asked == [("gru", 4, units, batch, jnp.bfloat16, True)]  # 4 rows of the last map
    config.model.implementation = "hoisted"
    assert resolved(32, 32, 3) == "hoisted"
