"""The models, by the name that `config.model.name` gives."""

from typing import Any

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from crnn_jax.models.cnn import CNN
from crnn_jax.models.crnn import CRNN
from crnn_jax.models.lrcn import LRCN
from crnn_jax.models.rnn import RNN
from crnn_jax.models.rnn_deep import RNNDeep
from crnn_jax.models.tsn import TSN

MODELS: dict[str, type[nn.Module]] = {
    "cnn": CNN,
    "rnn": RNN,
    "rnn_deep": RNNDeep,
    "lrcn": LRCN,
    "tsn": TSN,
    "crnn": CRNN,
}


def build_model(model_config: ConfigDict, num_classes: int, dtype: Any) -> nn.Module:
    """Returns the module that `model_config.name` names; it holds no parameters yet.

    Args:
      model_config: `config.model`, validated: its other keys are the module's fields.
      num_classes: K.
      dtype: of the compute, float32 or bfloat16; parameters, recurrent carry, statistics and logits
        are float32.
    """
    fields = {key: value for key, value in model_config.items() if key != "name"}
    if fields.get("implementation") == "fused" and jax.default_backend() != "gpu":
        fields["implementation"] = "hoisted"  # equal in value: a GPU's run is evaluated anywhere
    return MODELS[model_config.name](**fields, num_classes=num_classes, dtype=dtype)
