"""Operators whose result has a size that depends on values, where those values are constants.

Exporters write ``NonZero`` for masks and positions that they know; folded, they are plain index lists.
"""

from __future__ import annotations

import numpy as np
import onnx

from . import fold
from .graph import Graph, rewrite_nodes

FIXED = frozenset({"NonZero"})
"""The operators that this takes away, or leaves to be refused."""


def fixed_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants in a model with such an operator, until none is left or nothing changes; others are left alone."""
    while any(node.op_type in FIXED for node in model.graph.node):
        folded = rewrite_nodes(fold.apply(model), _visit)
        if len(folded.graph.node) == len(model.graph.node):
            break
        model = folded
    return model


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    value = graph.constant(node.input[0]) if node.op_type in FIXED else None
    if value is None or node.output[0] in graph.outputs:
        return False
    places = np.array(np.nonzero(value), np.int64)
    tensor = onnx.numpy_helper.from_array(places, node.output[0])
    graph.emit("Constant", [], node.output[0], value=tensor)
    return True
