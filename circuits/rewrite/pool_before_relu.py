"""MaxPool after a function that never falls: the maximum first, then fewer elements to apply the function to."""

from __future__ import annotations

import onnx

from .graph import Graph, attribute, rewrite_nodes

_RISING = {"Relu", "Sigmoid", "Tanh"}


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """MaxPool(f(x)) to f(MaxPool(x)) for rising f."""
    while (moved := rewrite_nodes(model, _visit)) is not model:
        model = moved
    return model


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type not in _RISING:
        return False
    pool = graph.only_consumer(node.output[0])
    # The index of a maximum, its second output, may be another where f is flat.
    if pool is None or pool.op_type != "MaxPool" or any(pool.output[1:]):
        return False
    out = pool.output[0]
    attributes = {item.name: attribute(pool, item.name, None) for item in pool.attribute}
    largest = graph.emit("MaxPool", [node.input[0]], graph.fresh(f"{out}.largest"), **attributes)
    graph.emit(node.op_type, [largest], out)
    graph.skip(pool)
    return True
