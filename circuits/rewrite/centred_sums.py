"""A projection of a sum as a sum of projections, where nobody sees the sum but through it.

A centring matrix before a normalisation is one, so in a network with shortcuts all layers that add to the shortcut write centred
numbers at once, by their own constants, and no mean is taken any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from .affine import constant_matrix
from .graph import Array, Graph, rewrite_nodes

_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class _Sum:
    """The Adds that a projection alone sees, by their results, and who projects them."""

    matrix: Array
    adds: dict[str, onnx.NodeProto]
    projections: list[onnx.NodeProto]


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known while going through a graph: the sums by their Adds; `graphs` holds it once all were looked for."""

    sums: dict[str, _Sum] = field(default_factory=dict)
    graphs: list[Graph] = field(default_factory=list)


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move every projection that can go into the constants before the sum."""
    found = _Found()
    return rewrite_nodes(model, lambda graph, node: _visit(graph, node, found))


def _visit(graph: Graph, node: onnx.NodeProto, found: _Found) -> bool:
    if not found.graphs:
        for other in graph.nodes:
            _find(graph, other, found)
        found.graphs.append(graph)
    y = node.output[0]
    if (
        node.op_type == "MatMul"
        and node.input[0] in found.sums
        and _is_one_of(node, found.sums[node.input[0]])
    ):
        graph.emit("Identity", [node.input[0]], y)
        return True
    if y not in found.sums:
        return False
    inputs = [_project(graph, name, found.sums[y]) for name in node.input]
    graph.emit("Add", inputs, y)
    return True


def _is_one_of(node: onnx.NodeProto, total: _Sum) -> bool:
    return any(node is item for item in total.projections)


def _find(graph: Graph, node: onnx.NodeProto, found: _Found) -> None:
    """Note the sum before a projection, with all Adds that lead to it or go on from it."""
    matrix = constant_matrix(graph, node)
    if matrix is None or node.input[0] in found.sums or matrix.shape[0] != matrix.shape[1]:
        return
    if np.abs(matrix @ matrix - matrix).max() > _TOLERANCE or (matrix == np.eye(len(matrix))).all():
        return
    total = _Sum(matrix, {}, [])
    if _collect(graph, node.input[0], total) and _worth(graph, total):
        found.sums.update(dict.fromkeys(total.adds, total))


def _collect(graph: Graph, name: str, total: _Sum) -> bool:
    """Whether everybody who sees this sum projects it, or adds to it; backwards and forwards from it."""
    node = graph.producer(name)
    if name in total.adds:
        return True
    if node is None or node.op_type != "Add" or name in graph.outputs:
        return False
    total.adds[name] = node
    for user in graph.consumers(name):
        matrix = constant_matrix(graph, user)
        if matrix is not None and matrix.shape == total.matrix.shape and (matrix == total.matrix).all():
            total.projections.append(user)
        elif user.op_type != "Add" or not _collect(graph, user.output[0], total):
            return False
    return all(
        _collect(graph, item, total)
        for item in node.input
        if (made := graph.producer(item)) is not None
        and made.op_type == "Add"
        and graph.constant(item) is None
    )


def _worth(graph: Graph, total: _Sum) -> bool:
    """Whether all that is added can be projected by its own constants."""
    size = len(total.matrix)
    for node in total.adds.values():
        for name in node.input:
            value, made = graph.constant(name), graph.producer(name)
            if name in total.adds:
                continue
            if value is not None and value.dtype == np.float32 and value.shape[-1:] == (size,):
                continue
            if value is not None or made is None or constant_matrix(graph, made) is None:
                return False
            if graph.only_consumer(name) is not node:
                return False
    return bool(total.projections)


def _project(graph: Graph, name: str, total: _Sum) -> str:
    if name in total.adds:
        return name
    value = graph.constant(name)
    if value is not None:
        projected = (value.astype(np.float64) @ total.matrix).astype(np.float32)
        return graph.new_constant(projected, f"{name}.projected")
    matrix = graph.new_constant(total.matrix.astype(np.float32), f"{name}.projection")
    return graph.emit("MatMul", [name, matrix], graph.fresh(f"{name}.projected"))
