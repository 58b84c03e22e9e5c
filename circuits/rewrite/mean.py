"""A mean as a sum and a factor, after the factors and terms along the last axis that stood before it.

The next linear layer takes them, and there are fewer numbers to take them to.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from .affine import affine_before
from .graph import Graph, attribute, optional_input, rewrite_nodes

_AXES_ARE_INPUTS = 18
_SUM_AXES_ARE_INPUTS = 13


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every mean over constant axes other than the last."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type != "ReduceMean" or graph.opset < _SUM_AXES_ARE_INPUTS:
        return False
    shape = graph.shape(node.input[0])
    axes = attribute(node, "axes", None)
    if graph.opset >= _AXES_ARE_INPUTS:
        axes = graph.constant(optional_input(node, 1))
    # Without axes it is a mean over all.
    if not shape or axes is None or graph.kind(node.output[0]) != onnx.TensorProto.FLOAT:
        return False
    axes = sorted(int(axis) % len(shape) for axis in axes)
    if not axes or len(shape) - 1 in axes:
        return False
    source, factor, term = affine_before(graph, node.input[0])
    factor = factor / prod(shape[axis] for axis in axes)
    y = node.output[0]
    over = graph.new_constant(np.array(axes, np.int64), f"{y}.axes")
    keeps = attribute(node, "keepdims", 1)
    total = graph.emit("ReduceSum", [source, over], graph.fresh(f"{y}.sum"), keepdims=keeps)
    if np.ptp(factor) == 0:
        factor = factor[:1]
    factors = graph.new_constant(factor.astype(np.float32), f"{y}.factors")
    scaled = graph.emit("Mul", [total, factors], graph.fresh(f"{y}.scaled") if term.any() else y)
    if term.any():
        graph.emit("Add", [scaled, graph.new_constant(term.astype(np.float32), f"{y}.term")], y)
    return True
