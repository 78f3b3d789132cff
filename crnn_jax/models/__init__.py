"""The models, by the name that `config.model.name` gives, each put together from its parts."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from crnn_jax.models.cnn import CNN
from crnn_jax.models.crnn import CRNN
from crnn_jax.models.heads import Classifier, DenseOutput, Output
from crnn_jax.models.lrcn import LRCN
from crnn_jax.models.readout import READOUTS
from crnn_jax.models.recurrent import Recurrent, recurrent_calls
from crnn_jax.models.recurrent.fastest import fastest
from crnn_jax.models.reseg import Decoder, ReSeg
from crnn_jax.models.rnn import RNN
from crnn_jax.models.rnn_deep import RNNDeep
from crnn_jax.models.sequencer import Sequencer
from crnn_jax.models.trunk import Trunk
from crnn_jax.models.tsn import TSN

Keys = dict[str, Any]

MODELS: dict[str, type[nn.Module]] = {
    "cnn": CNN,
    "rnn": RNN,
    "rnn_deep": RNNDeep,
    "lrcn": LRCN,
    "tsn": TSN,
    "crnn": CRNN,
    "sequencer": Sequencer,
    "reseg": ReSeg,
}
_OUTPUTS: dict[str, type] = {"reseg": DenseOutput}  # models that do not return `Output`


def output_of(name: str) -> type:
    """Returns the type of what the model `name` returns."""
    return _OUTPUTS.get(name, Output)


CLASSIFIERS = tuple(name for name in MODELS if output_of(name) is Output)


def _fields(module: type[nn.Module]) -> list[str]:
    names = [field.name for field in dataclasses.fields(module)]
    return [name for name in names if name not in ("parent", "name")]


def _of_its_keys(part: type[nn.Module]) -> Callable[[Keys], nn.Module]:
    """Returns what makes the part from the keys that are its fields' names."""
    return lambda keys: part(**{name: keys[name] for name in _fields(part)})


def _sweeps(keys: Keys) -> tuple[nn.Module, ...]:
    """Returns one bidirectional layer for each grid of the deep RNN."""
    fixed = {"num_recurrent_layers": 1, "bidirectional": True, "remat": False}
    return tuple(_of_its_keys(Recurrent)({**keys, **fixed}) for _ in keys["patch_sizes"])


# What makes the part that a model has under a field of this name, from the model's keys.
PARTS: dict[str, Callable[[Keys], Any]] = {
    "trunk": _of_its_keys(Trunk),
    "recurrent": _of_its_keys(Recurrent),
    "columns": _sweeps,
    "rows": _sweeps,
    "decoder": _of_its_keys(Decoder),
    "readout": lambda keys: READOUTS[keys["readout"]](keys["dtype"]),
    "head": _of_its_keys(Classifier),
}


def build_model(
    model_config: ConfigDict, num_classes: int, dtype: Any, *, head: nn.Module | None = None
) -> nn.Module:
    """Returns the module that `model_config.name` names; it holds no parameters yet.

    Args:
      model_config: `config.model`, validated. It is flat: each part takes the keys that are its
        fields (`PARTS`), the model itself the others.
      num_classes: K.
      dtype: in which the model computes, float32 or bfloat16; parameters, recurrent carry,
        statistics and logits are float32.
      head: that takes the place of `Classifier`, called as `head(feature, train=train)`.
    """
    keys: Keys = {**model_config, "num_classes": num_classes, "dtype": dtype}
    if keys.get("implementation") == "fused" and jax.default_backend() != "gpu":
        keys["implementation"] = "hoisted"  # equal in value: a GPU's run is evaluated anywhere
    model = MODELS[model_config.name]
    parts = {name: PARTS[name](keys) if name in PARTS else keys[name] for name in _fields(model)}
    if head is not None:
        parts["head"] = head
    return model(**parts)


def choose_implementation(
    model_config: ConfigDict, input_shape: Sequence[int], batch: int, dtype: Any
) -> str:
    """Returns the `fastest` implementation for what the model's recurrent layer reads.

    Args:
      model_config: `config.model`, validated, of a model with recurrent layers.
      input_shape: shape of an example: (H, W, C), or (F, H, W, C) for a clip.
      batch: examples on one device.
      dtype: in which the model computes.
    """
    model = build_model(model_config, 2, dtype)
    recurrent, feature_BTD = recurrent_calls(model, input_shape, batch)[0]
    rows, num_steps, _ = feature_BTD.shape  # rnn_deep's layers read many lines of an image
    return fastest(
        recurrent.cell,
        num_steps,
        recurrent.hidden_units,
        rows,
        recurrent.dtype,
        remat=recurrent.remat,
    )
