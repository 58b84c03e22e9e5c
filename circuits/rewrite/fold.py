"""Constant folding: what does not depend on an input is computed once, and nodes that do nothing or repeat another go.

Shapes are constants too, since they are static. Values come from onnxruntime, shapes from onnx; the graph is edited here,
because a whole-graph optimiser would make a circuit's identity depend on its release.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from .evaluate import evaluate
from .graph import Graph, attribute, rewrite_nodes

MOST_ELEMENTS = 1 << 20
"""A constant larger than this is not made; the node stays."""
_MOST_ROUNDS = 64


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold until nothing changes: a folded shape may make other shapes known."""
    for _ in range(_MOST_ROUNDS):
        folded = _round(model)
        if folded is model:
            break
        model = folded
    return model


def _round(model: onnx.ModelProto) -> onnx.ModelProto:
    alias: dict[str, str] = {}
    made: dict[tuple[str, ...], str] = {}

    def visit(graph: Graph, node: onnx.NodeProto) -> bool:
        for index, name in enumerate(node.input):
            node.input[index] = alias.get(name, name)
        if graph.outputs.intersection(node.output) or node.op_type == "Constant":
            return False
        if len(node.output) == 1 and (same := _same_as(graph, node, made)):
            alias[node.output[0]] = alias.get(same, same)
            return True
        return _compute(graph, node, alias)

    return rewrite_nodes(model, visit)


def _same_as(graph: Graph, node: onnx.NodeProto, made: dict[tuple[str, ...], str]) -> str | None:
    """The tensor that holds what this node would make."""
    if node.op_type == "Identity" or _changes_nothing(graph, node):
        return str(node.input[0])
    attributes = sorted(item.SerializeToString(deterministic=True).hex() for item in node.attribute)
    key = (node.op_type, *node.input, *attributes)
    first = made.setdefault(key, node.output[0])
    return None if first == node.output[0] else first


def _changes_nothing(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type == "Cast":
        return bool(graph.kind(node.input[0]) == attribute(node, "to", 0))
    if node.op_type in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand"):
        shape = graph.shape(node.input[0])
        return shape is not None and shape == graph.shape(node.output[0])
    if node.op_type == "Transpose":
        order = attribute(node, "perm", None)
        return order is not None and list(order) == sorted(order)
    return False


def _compute(graph: Graph, node: onnx.NodeProto, alias: dict[str, str]) -> bool:
    if node.op_type == "Shape" and (shape := graph.shape(node.input[0])) is not None:
        begin, end = attribute(node, "start", 0), attribute(node, "end", None)
        alias[node.output[0]] = graph.new_constant(np.array(shape[begin:end], dtype=np.int64), node.output[0])
        return True
    values = [graph.constant(name) if name else None for name in node.input]
    if any(name and value is None for name, value in zip(node.input, values, strict=True)):
        return False
    sizes = [graph.shape(name) for name in node.output if name]
    if any(size is None or prod(size) > MOST_ELEMENTS for size in sizes):
        return False
    results = evaluate(node, values, graph.opset)
    if results is None or any(value.dtype.kind == "f" and not np.isfinite(value).all() for value in results):
        return False
    for name, value in zip([name for name in node.output if name], results, strict=True):
        alias[name] = graph.new_constant(value, name)
    return True
