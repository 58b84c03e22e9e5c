"""A number that a product of two tensors is multiplied with goes to one of them, as far back as index operators lead.

There it meets a linear layer, whose constants can take it: 1/√d of attention scores ends up in the weights of the queries.
"""

from __future__ import annotations

import onnx

from .graph import Array, Graph, rewrite_nodes

_MOVING = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Gather", "Slice", "Identity"}


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move every such factor that reaches a node which computes something."""
    moved: dict[str, str] = {}
    return rewrite_nodes(model, lambda graph, node: _visit(graph, node, moved))


def _visit(graph: Graph, node: onnx.NodeProto, moved: dict[str, str]) -> bool:
    out = node.output[0]
    if out in moved:
        graph.emit("Identity", [moved[out]], out)
        return True
    if node.op_type in (*_MOVING, "Constant") or any(node.output[1:]):
        return False
    found = _factor_after(graph, out)
    if found is None:
        return False
    product, scaled, factor = found
    moved[scaled.output[0]] = product.output[0]
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.output[0] = graph.fresh(f"{out}.unscaled")
    graph.keep(copy)
    graph.emit("Mul", [copy.output[0], graph.new_constant(factor, f"{out}.factor")], out)
    return True


def _factor_after(graph: Graph, name: str) -> tuple[onnx.NodeProto, onnx.NodeProto, Array] | None:
    """The product of two tensors that alone takes this one, what multiplies it by a number, and the number."""
    node = graph.only_consumer(name)
    while node is not None and node.op_type in _MOVING and node.input[0] == name:
        name = node.output[0]
        node = graph.only_consumer(name)
    if (
        node is None
        or node.op_type != "MatMul"
        or any(graph.constant(item) is not None for item in node.input)
    ):
        return None
    # Of two that could take it, the first.
    if node.input[0] != name or node.input[1] == name:
        return None
    after = graph.only_consumer(node.output[0])
    if after is None or after.op_type not in ("Mul", "Div"):
        return None
    value = graph.constant(after.input[1])
    if value is None and after.op_type == "Mul":
        value = graph.constant(after.input[0])
    if value is None or value.size != 1 or value.dtype.name != "float32" or not value.all():
        return None
    return node, after, (value if after.op_type == "Mul" else 1 / value).reshape(1)
