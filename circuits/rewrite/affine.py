"""What the rules share that move factors and terms along the last axis."""

from __future__ import annotations

import numpy as np
import onnx

from .graph import Array, Graph


def constant_matrix(graph: Graph, node: onnx.NodeProto) -> Array | None:
    """The constant matrix that a MatMul multiplies a tensor with from the right, in binary64; None of any other node."""
    if node.op_type != "MatMul" or graph.constant(node.input[0]) is not None:
        return None
    value = graph.constant(node.input[1])
    if value is None or value.ndim != 2 or value.dtype != np.float32:
        return None
    return value.astype(np.float64)


def affine_before(graph: Graph, name: str) -> tuple[str, Array, Array]:
    """The tensor x of which this one is x·factor + term, as far back as constants along the last axis lead; both in binary64."""
    shape = graph.shape(name) or (1,)
    factor, term = np.ones(shape[-1]), np.zeros(shape[-1])
    while (node := graph.producer(name)) is not None and node.op_type in ("Mul", "Add"):
        constants = [graph.constant(item) for item in node.input]
        value, taken = constants[1], node.input[0]
        if value is None:
            value, taken = constants[0], node.input[1]
        if value is None or value.dtype != np.float32 or value.shape not in ((), (1,), (shape[-1],)):
            break
        if graph.shape(taken) != shape:
            break
        vector = np.broadcast_to(value.astype(np.float64).ravel(), shape[-1:])
        if node.op_type == "Add":
            term = term + factor * vector
        else:
            factor = factor * vector
        name = taken
    return name, factor, term
