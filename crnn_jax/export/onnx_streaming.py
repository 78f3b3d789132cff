"""A recurrent model as an ONNX graph of one step, which is fed rows or frames as they come.

Its inputs are the pixels of a step and the state that the step before left; its outputs are the
probabilities after the step and the new state. The state before the first step is zeros.
"""

import math
from typing import Any

from flax import linen as nn

from crnn_jax.errors import UserError
from crnn_jax.export.onnx_graph import Graph
from crnn_jax.export.onnx_parts import dense, normalise, pooled, softmax, trunk
from crnn_jax.export.onnx_recurrent import Carry, recurrent
from crnn_jax.models.crnn import CRNN
from crnn_jax.models.lrcn import LRCN
from crnn_jax.models.readout import Last
from crnn_jax.models.recurrent.cells import CELLS
from crnn_jax.models.rnn import RNN

NEXT = "next_"  # and the name of a state: its value after the step


def build_step(
    model: nn.Module, graph: Graph, name: str, norm: dict[str, Any], shape: tuple[int, ...]
) -> str:
    """Returns the name of the class probabilities (B, K) after a step.

    Args:
      model: whose every step reads a row of a still image (`RNN`), or a frame of a clip.
      graph: with the model's weights.
      name: the graph's input, uint8 (B, *shape[1:]).
      norm: {"mean_C", "std_C"}.
      shape: shape of an example: steps, then what a step reads.

    Raises:
      UserError: a model that has to see all of its input first.
    """
    _check(model, shape)
    graph.inputs[name] = ("uint8", ("batch", *shape[1:]))
    value = normalise(graph, name, norm)
    if isinstance(model, RNN):
        feature_BD = graph.reshape("step/flat", value, (0, math.prod(shape[1:])))
    else:
        feature_BD = pooled(graph, trunk(model.trunk, graph, value, *shape[1:3]))
    feature_TBD = graph.add("Unsqueeze", "step", [feature_BD, graph.constant("step/axis", [0])])
    module = model.recurrent
    num_carries = CELLS[module.cell].num_carries
    carries = [
        [
            _state(graph, f"{kind}_{index}", (1, "batch", module.hidden_units))
            for kind in ("h", "c")[:num_carries]
        ]
        for index in range(module.num_recurrent_layers)
    ]
    last_BN = recurrent(graph, "recurrent", module, feature_TBD, 1, carries).last_BN
    probability = softmax(graph, dense(model.head, graph, last_BN))
    return _running_mean(graph, probability) if isinstance(model, LRCN) else probability


def _check(model: Any, shape: tuple[int, ...]) -> None:
    reason, found = "", ""
    if not isinstance(model, (RNN, CRNN, LRCN)):
        found = type(model).__name__.lower()
        reason = "a recurrent model (rnn, crnn or lrcn)"
    elif len(shape) == 3 and not (isinstance(model, RNN) and model.tokens == "rows"):
        found = f"images of {shape[0]} x {shape[1]} and model {type(model).__name__.lower()}"
        reason = "clips, or 'model.name' rnn with 'model.tokens' rows"
    elif model.recurrent.bidirectional:
        found = "True"
        reason = "'model.bidirectional' False, since the other direction starts at the end"
    elif not isinstance(model.readout, Last):
        found = type(model.readout).__name__.lower()
        reason = "'model.readout' last, since the others read all states"
    if reason:
        raise UserError(f"--streaming expects {reason}; found {found}: export without it")


def _state(graph: Graph, name: str, dims: tuple[int | str, ...]) -> Carry:
    graph.inputs[name] = ("float32", dims)
    graph.outputs[NEXT + name] = dims
    return Carry(name, NEXT + name)


def _running_mean(graph: Graph, probability_BK: str) -> str:
    """Returns the mean of the probabilities of all steps so far."""
    num_classes = len(graph.weights["head/dense/bias"])
    total = _state(graph, "total", ("batch", num_classes))
    steps = _state(graph, "steps", ("batch", 1))
    graph.add("Add", total.after, [total.before, probability_BK])
    graph.add("Add", steps.after, [steps.before, graph.constant("steps/one", 1.0)])
    return graph.add("Div", "mean_probabilities", [total.after, steps.after])
