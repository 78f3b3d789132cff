"""Builds an ONNX graph node by node; nodes and constants are named as the model's parts are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import crnn_jax

# The oldest that have Gelu; onnxruntime reads them from 1.17 (2024) on.
OPSET, IR_VERSION = 20, 9
Dims = Sequence[int | str]  # a name stands for a size that is known when the graph runs

_DTYPES = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}


class Graph:
    """A graph under construction. A node with one result gives it its own name.

    Args:
      weights: the model's arrays by path, as "trunk/conv_0_0/bias".
    """

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.inputs: dict[str, tuple[str, Dims]] = {}  # name -> (dtype, shape)
        self.outputs: dict[str, Dims] = {}  # float32
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}

    def weight(self, path: str) -> str:
        """Returns `path`, once the model's array of this path is in the graph."""
        return self.constant(path, self.weights[path])

    def constant(self, name: str, array: Any) -> str:
        """Returns `name`, once the array is in the graph: whole numbers as int64."""
        array = np.asarray(array)
        dtype = np.int64 if array.dtype.kind == "i" else np.float32
        self._constants[name] = np.asarray(array, dtype, order="C")
        return name

    def add(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | None = None,
        **attributes: Any,
    ) -> str:
        """Returns `name`, once the node is in the graph.

        Args:
          op: an operator of ONNX.
          name: the node's.
          inputs: names of results and constants; "" where there is none.
          outputs: names of its results where they are not one; "" for one that is not needed.
          attributes: the node's.
        """
        results = [name] if outputs is None else outputs
        self._nodes.append(helper.make_node(op, inputs, results, name=name, **attributes))
        return name

    def transpose(self, name: str, value: str, order: Sequence[int]) -> str:
        """Returns the value with its axes in another order."""
        return self.add("Transpose", name, [value], perm=list(order))

    def reshape(self, name: str, value: str, dims: Sequence[int]) -> str:
        """Returns the value in another shape: -1 is what is left, 0 the size of that axis."""
        return self.add("Reshape", name, [value, self.constant(f"{name}/shape", dims)])

    def reduce(self, op: str, name: str, value: str, axes: Sequence[int]) -> str:
        """Returns the value without `axes`; op: "ReduceMean", "ReduceSum" or "ReduceMax"."""
        axes_name = self.constant(f"{name}/axes", axes)
        return self.add(op, name, [value, axes_name], keepdims=0)

    def model(self) -> onnx.ModelProto:
        """Returns the whole, checked, with the shape of every result."""
        inputs = [
            helper.make_tensor_value_info(name, _DTYPES[dtype], dims)
            for name, (dtype, dims) in self.inputs.items()
        ]
        outputs = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims)
            for name, dims in self.outputs.items()
        ]
        nodes, used = self._needed()
        constants = [
            numpy_helper.from_array(array, name)
            for name, array in self._constants.items()
            if name in used
        ]
        graph = helper.make_graph(nodes, "crnn_jax", inputs, outputs, constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="crnn_jax",
            producer_version=crnn_jax.__version__,
        )
        onnx.checker.check_model(model, full_check=True)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)

    def _needed(self) -> tuple[list[onnx.NodeProto], set[str]]:
        """Returns the nodes that the outputs need, and the names that these read."""
        used, nodes = set(self.outputs), []
        for node in reversed(self._nodes):
            if used.isdisjoint(node.output):
                continue
            node.output[:] = [name if name in used else "" for name in node.output]
            used.update(node.input)
            nodes.append(node)
        return nodes[::-1], used
