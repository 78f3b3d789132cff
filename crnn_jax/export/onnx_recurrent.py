"""Recurrent layers as ONNX's own nodes, each of which reads a whole sequence; time comes first."""

import math
from typing import NamedTuple

import numpy as np

from crnn_jax.errors import UserError
from crnn_jax.export.onnx_graph import Graph
from crnn_jax.models.recurrent import Recurrent


class Node(NamedTuple):
    """ONNX's operator of a cell."""

    op: str
    gates: tuple[int, ...]  # in its order, their places in ours
    attributes: dict[str, int] = {}  # noqa: RUF012 - never changed


NODES = {
    "elman": Node("RNN", (0,)),
    # Ours are r, z, n, theirs z, r, h; both let z weigh the old state.
    "gru": Node("GRU", (1, 0, 2), attributes={"linear_before_reset": 1}),
    "gru_cho": Node("GRU", (1, 0, 2), attributes={"linear_before_reset": 0}),
    # Ours are i, f, g, o, theirs i, o, f, c.
    "lstm": Node("LSTM", (0, 3, 1, 2)),
}
CELLS = (*NODES, "mingru")  # that a graph can have


class Ends(NamedTuple):
    """What recurrent layers hand on."""

    state_TBN: str  # after each step; both directions side by side
    last_BN: str  # each direction's, after the step that it reads last


class Carry(NamedTuple):
    """The state of a layer that is fed as it comes: an input and an output of the graph."""

    before: str
    after: str


def recurrent(
    graph: Graph,
    path: str,
    module: Recurrent,
    feature_TBD: str,
    num_steps: int,
    carries: list[list[Carry]] | None = None,
) -> Ends:
    """Returns the states of stacked layers.

    Args:
      graph: that they are added to.
      path: where the module's weights are, as "recurrent".
      module: the layers, from the model.
      feature_TBD: the name of what they read.
      num_steps: T, which a graph has to know for minGRU alone.
      carries: each layer's, where it starts from and ends with a state of its own; None: zeros.

    Raises:
      UserError: a cell that no graph can have.
    """
    if module.cell not in CELLS:
        raise UserError(
            f"format 'onnx' expects 'model.cell' to be one of {', '.join(CELLS)}, found "
            f"'{module.cell}': choose --format=stablehlo"
        )
    ends = Ends(feature_TBD, "")
    for index in range(module.num_recurrent_layers):
        layers = [f"{path}/layer_{index}"]
        if module.bidirectional:
            layers.append(f"{layers[0]}_reverse")
        carry = carries[index] if carries else []
        if module.cell == "mingru":
            ends = _mingru_layer(graph, layers, module, ends.state_TBN, num_steps, carry)
        else:
            ends = _layer(graph, layers, NODES[module.cell], module, ends.state_TBN, carry)
    return ends


def _layer(
    graph: Graph,
    layers: list[str],
    node: Node,
    module: Recurrent,
    value_TBD: str,
    carry: list[Carry],
) -> Ends:
    """Returns the ends of one node: the layer, or both directions of it."""
    name, size = layers[0], module.hidden_units
    kernels = [_in_order(graph.weights[f"{layer}/kernel_x"], node.gates).T for layer in layers]
    kernels_h = [_in_order(graph.weights[f"{layer}/kernel_h"], node.gates).T for layer in layers]
    inputs = [
        value_TBD,
        graph.constant(f"{name}/W", np.stack(kernels)),
        graph.constant(f"{name}/R", np.stack(kernels_h)),
        graph.constant(f"{name}/B", np.stack([_biases(graph, at, node) for at in layers])),
        "",  # all sequences of a batch are of one length
    ]
    inputs += [before for before, _ in carry]
    last = [after for _, after in carry] or [f"{name}/last"]
    graph.add(
        node.op,
        name,
        inputs,
        [f"{name}/states", *last],
        hidden_size=size,
        direction="bidirectional" if len(layers) == 2 else "forward",
        **node.attributes,
    )
    state_TBN, last_BN = f"{name}/state_TBN", f"{name}/last_BN"
    if len(layers) == 1:  # (T, 1, B, N) and (1, B, N)
        graph.add("Squeeze", state_TBN, [f"{name}/states", graph.constant(f"{name}/axis_1", [1])])
        graph.add("Squeeze", last_BN, [last[0], graph.constant(f"{name}/axis_0", [0])])
    else:  # both directions side by side
        states = graph.transpose(f"{name}/beside", f"{name}/states", (0, 2, 1, 3))
        lasts = graph.transpose(f"{name}/last_beside", last[0], (1, 0, 2))
        graph.reshape(state_TBN, states, (0, 0, 2 * size))
        graph.reshape(last_BN, lasts, (0, 2 * size))
    return Ends(state_TBN, last_BN)


def _in_order(array: np.ndarray, gates: tuple[int, ...]) -> np.ndarray:
    """Returns our gates, side by side in the last axis, in another order."""
    parts = np.split(np.asarray(array), len(gates), axis=-1)
    return np.concatenate([parts[gate] for gate in gates], axis=-1)


def _biases(graph: Graph, layer: str, node: Node) -> np.ndarray:
    """Returns ONNX's two biases of every gate: that of the input, that of the state."""
    bias = _in_order(graph.weights[f"{layer}/bias"], node.gates)
    bias_h = np.zeros_like(bias)
    if (own := graph.weights.get(f"{layer}/bias_h")) is not None:
        bias_h[-len(own) :] = own  # the candidate's, the last gate in both orders
    return np.concatenate([bias, bias_h])


def _mingru_layer(
    graph: Graph,
    layers: list[str],
    module: Recurrent,
    value_TBD: str,
    num_steps: int,
    carry: list[Carry],
) -> Ends:
    """Returns the ends of minGRU, for which ONNX has no operator, in both directions."""
    ends = [
        _mingru(graph, layer, module.hidden_units, value_TBD, num_steps, reverse=index == 1)
        for index, layer in enumerate(layers)
    ]
    if carry:  # a single step: h = a h + b
        ((before, after),) = carry
        kept = graph.add("Mul", f"{layers[0]}/kept", [f"{layers[0]}/a", before])
        graph.add("Add", after, [kept, f"{layers[0]}/b"])
        axis = graph.constant(f"{layers[0]}/axis_0", [0])
        return Ends(after, graph.add("Squeeze", f"{layers[0]}/carried_BN", [after, axis]))
    if len(ends) == 1:
        return ends[0]
    states, lasts = zip(*ends, strict=True)
    return Ends(
        graph.add("Concat", f"{layers[0]}/states", states, axis=-1),
        graph.add("Concat", f"{layers[0]}/lasts", lasts, axis=-1),
    )


def _mingru(
    graph: Graph, name: str, size: int, value_TBD: str, num_steps: int, *, reverse: bool
) -> Ends:
    """Returns h_t = a_t h_{t-1} + b_t for all steps by ceil(log2 T) rounds (Hillis, Steele 1986).

    A round joins the map of each step with that of the steps before it, and so doubles the number
    of steps that a map stands for; before the first step there is h -> h.
    """
    product = graph.add("MatMul", f"{name}/product", [value_TBD, graph.weight(f"{name}/kernel_x")])
    gates = graph.add("Add", f"{name}/gates", [product, graph.weight(f"{name}/bias")])
    sizes = graph.constant(f"{name}/sizes", (size, size))
    update, new = f"{name}/z", f"{name}/new"
    graph.add("Split", f"{name}/split", [gates, sizes], [update, new], axis=-1)
    # 1 - sigmoid(x) = sigmoid(-x)
    kept = graph.add("Sigmoid", f"{name}/a", [graph.add("Neg", f"{name}/minus_z", [update])])
    share = graph.add("Sigmoid", f"{name}/share", [update])
    added = graph.add("Mul", f"{name}/b", [share, new])
    for index in range(math.ceil(math.log2(num_steps))):
        at, step = f"{name}/round_{index}", 2**index
        pads = (-step, 0, 0, step, 0, 0) if reverse else (step, 0, 0, -step, 0, 0)
        shift = graph.constant(f"{at}/shift", pads)
        ones, zeros = graph.constant(f"{at}/one", 1.0), graph.constant(f"{at}/zero", 0.0)
        earlier_b = graph.add("Pad", f"{at}/earlier_b", [added, shift, zeros])
        carried = graph.add("Mul", f"{at}/carried", [kept, earlier_b])
        earlier_a = graph.add("Pad", f"{at}/earlier_a", [kept, shift, ones])
        added = graph.add("Add", f"{at}/b", [carried, added])
        kept = graph.add("Mul", f"{at}/a", [kept, earlier_a])
    place = graph.constant(f"{name}/last_step", 0 if reverse else num_steps - 1)
    return Ends(added, graph.add("Gather", f"{name}/last_BN", [added, place], axis=0))
