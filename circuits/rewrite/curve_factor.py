"""A factor before a curve, taken by what the curve is multiplied with too: x·f(c·x) as 1/c·(u·f(u)) with u = c·x.

So does the exact GELU, x·(1 + erf(x/√2))/2. One tensor is then rescaled and looked up instead of two, and both factors can go
into the constants of linear layers.
"""

from __future__ import annotations

import numpy as np
import onnx

from .graph import Array, Graph, rewrite_nodes

_CURVES = {"Erf", "Sigmoid", "Tanh"}


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite every product whose one factor is a curve's argument before it was scaled."""
    scaled: dict[str, tuple[str, Array]] = {}
    return rewrite_nodes(model, lambda graph, node: _visit(graph, node, scaled))


def _visit(graph: Graph, node: onnx.NodeProto, scaled: dict[str, tuple[str, Array]]) -> bool:
    if node.op_type == "Mul" and len(set(node.input)) == 2 and scaled.keys() & set(node.input):
        x = next(name for name in node.input if name in scaled)
        other = next(name for name in node.input if name != x)
        u, factor = scaled[x]
        y = node.output[0]
        product = graph.emit("Mul", [u, other], graph.fresh(f"{y}.gated"))
        graph.emit("Mul", [product, graph.new_constant(1 / factor, f"{y}.factor")], y)
        return True
    if (read := _factor(graph, node)) is not None:
        x, factor = read
        users = [user for user in graph.consumers(x) if user is not node]
        curve = graph.only_consumer(node.output[0])
        if (
            curve is not None
            and curve.op_type in _CURVES
            and x not in graph.outputs
            and len(users) == 1
            and users[0].op_type == "Mul"
            and all(graph.constant(name) is None for name in users[0].input)
        ):
            scaled[x] = (node.output[0], factor)
    return False


def _factor(graph: Graph, node: onnx.NodeProto) -> tuple[str, Array] | None:
    """The variable and the factor of a node that multiplies by one number."""
    if node.op_type not in ("Mul", "Div"):
        return None
    left, right = (graph.constant(name) for name in node.input)
    value = right if left is None else left
    if (
        value is None
        or value.size != 1
        or (left is not None and (right is not None or node.op_type == "Div"))
    ):
        return None
    number = value.ravel()[:1].astype(np.float32)
    if value.dtype != np.float32 or not number.all():
        return None
    return node.input[0 if left is None else 1], number if node.op_type == "Mul" else 1 / number
