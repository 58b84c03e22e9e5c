"""AveragePool and GlobalAveragePool as strided static Gathers and Adds; the factor 1/n goes into the next linear layer.

A Gather costs no cells and an Add one per element; the factor commutes with whatever lies between as long as it is positive.
Where the next layer is not linear, or windows differ in size (padding not counted), a Mul applies the factor.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from .graph import Array, Graph, Shape, attribute, rewrite_nodes
from .windows import Windows, flatten, windows

_HOMOGENEOUS = {"Relu", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "MaxPool"}
"""f(c·x) = c·f(x) for c > 0; `AveragePool` and `GlobalAveragePool` too, before it is their turn."""


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every AveragePool."""
    return rewrite_nodes(model, lambda graph, node: node.op_type == "AveragePool" and _replace(graph, node))


def apply_global(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every GlobalAveragePool."""
    return rewrite_nodes(
        model, lambda graph, node: node.op_type == "GlobalAveragePool" and _replace(graph, node)
    )


def _replace(graph: Graph, node: onnx.NodeProto) -> bool:
    shape = graph.shape(node.input[0])
    if shape is None or len(shape) < 3:
        return False
    kernel = tuple(attribute(node, "kernel_shape", shape[2:]))
    seen = windows(node, shape[2:], kernel)
    if seen is None or not graph.has_room(prod(shape[:2]) * seen.positions.size):
        return False
    counts = (seen.counted if attribute(node, "count_include_pad", 0) else seen.positions >= 0).sum(axis=1)
    out = node.output[0]
    # onnx and onnxruntime disagree about some windows of ``ceil_mode``.
    if not counts.all() or graph.shape(out) != (*shape[:2], *seen.shape):
        return False
    if (counts == counts[0]).all() and _push(graph, out, np.float32(1 / counts[0])):
        _sum(graph, node, shape, seen, out)
        return True
    total = _sum(graph, node, shape, seen, graph.fresh(f"{out}.sum"))
    factors = np.float32(1 / counts).reshape(1, 1, *seen.shape)
    factor = graph.new_constant(factors if np.ptp(counts) else factors.ravel()[:1], f"{out}.factor")
    graph.emit("Mul", [total, factor], out)
    return True


def _sum(graph: Graph, node: onnx.NodeProto, shape: Shape, seen: Windows, out: str) -> str:
    """Write the sum over each window, [batch, channels, …]."""
    plane = np.arange(prod(shape[:2]))[:, None] * prod(shape[2:])
    # A row per kernel element, in it batch·channels rows of outputs.
    index = np.where(seen.positions.T[:, None] < 0, -1, plane + seen.positions.T[:, None])
    flat, index = flatten(graph, node.input[0], shape, index, out)
    parts = []
    for picked in index:
        where = graph.new_constant(picked.reshape(*shape[:2], *seen.shape), f"{out}.index")
        parts.append(graph.emit("Gather", [flat, where], graph.fresh(f"{out}.part"), axis=0))
    if len(parts) == 1:
        return graph.emit("Identity", parts, out)
    for part in parts[1:-1]:
        parts[0] = graph.emit("Add", [parts[0], part], graph.fresh(f"{out}.partial"))
    return graph.emit("Add", [parts[0], parts[-1]], out)


def _push(graph: Graph, name: str, factor: np.float32) -> bool:
    """Multiply the weights of the linear layer that alone takes this tensor; False if there is none."""
    node = graph.only_consumer(name)
    while node is not None and node.op_type in {*_HOMOGENEOUS, "AveragePool", "GlobalAveragePool"}:
        if node.input[0] != name or len([item for item in node.output if item]) != 1:
            return False
        name = node.output[0]
        node = graph.only_consumer(name)
    if node is None or node.op_type not in ("MatMul", "Conv", "Gemm") or node.input[0] != name:
        return False
    weights: Array | None = graph.constant(node.input[1])
    if weights is None:
        return False
    node.input[1] = graph.new_constant(weights * factor, f"{name}.weights")
    return True
