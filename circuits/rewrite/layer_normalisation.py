"""LayerNormalization over the last axis: a centring product, a sum of squares, a power, and factors that constants can take.

With d = x·(1 - 1/n), the normal form of x is √n·d·(Σd² + n·ε)^(-1/2): √n goes into the factors, and the centring matrix into the
products before or after.

Source: ONNX operator specification of LayerNormalization; Ba, Kiros and Hinton (2016).
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import onnx

from .graph import Graph, attribute, optional_input, reduce_last, rewrite_nodes

_LARGEST = 256
"""A longer axis has a centring matrix that costs more than it spares."""


def centring(size: int) -> np.typing.NDArray[np.float32]:
    """The matrix that takes its mean from a row."""
    return (np.eye(size) - 1 / size).astype(np.float32)


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every LayerNormalization over a short last axis whose factors and terms are constant."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type != "LayerNormalization" or any(node.output[1:]):
        return False
    x, y, shape = node.input[0], node.output[0], graph.shape(node.input[0])
    if not shape or attribute(node, "axis", -1) not in (-1, len(shape) - 1) or not 1 < shape[-1] <= _LARGEST:
        return False
    size, bias = shape[-1], optional_input(node, 2)
    factor, term = graph.constant(node.input[1]), graph.constant(bias) if bias else np.zeros(1)
    if factor is None or term is None or not graph.has_room(size * size):
        return False
    matrix = graph.new_constant(centring(size), f"{y}.centring")
    centred = graph.emit("MatMul", [x, matrix], graph.fresh(f"{y}.centred"))
    squares = reduce_last(graph, "ReduceSumSquare", centred, graph.fresh(f"{y}.squares"))
    least = graph.new_constant(np.array([size * attribute(node, "epsilon", 1e-5)], np.float32), f"{y}.least")
    safe = graph.emit("Add", [squares, least], graph.fresh(f"{y}.safe"))
    power = graph.new_constant(np.array([-0.5], np.float32), f"{y}.power")
    scale = graph.emit("Pow", [safe, power], graph.fresh(f"{y}.scale"))
    normal = graph.emit("Mul", [centred, scale], graph.fresh(f"{y}.normal"))
    factors = graph.new_constant((factor * sqrt(size)).astype(np.float32), f"{y}.factors")
    scaled = graph.emit("Mul", [normal, factors], y if not term.any() else graph.fresh(f"{y}.scaled"))
    if term.any():
        graph.emit("Add", [scaled, bias], y)
    return True
