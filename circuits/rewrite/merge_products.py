"""Constant products of one tensor become one product, whose columns are then told apart.

Freivalds' argument goes over the tensor once then, and a lowering rescales the tensor once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from .affine import constant_matrix
from .graph import Array, Graph, rewrite_nodes


@dataclass(frozen=True, slots=True)
class _Branch:
    """A product and what is added to it, and the nodes that did that."""

    weights: Array
    term: Array
    nodes: tuple[onnx.NodeProto, ...]


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Merge all products of two or more rows that take the same tensor."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    if constant_matrix(graph, node) is None:
        return False
    name, shape = node.input[0], graph.shape(node.output[0])
    if shape is None or len(shape) < 2 or all(size == 1 for size in shape[:-1]):
        return False
    users = (user for user in graph.consumers(name) if user.input[0] == name)
    branches = [branch for user in users if (branch := _branch(graph, user)) is not None]
    if len(branches) < 2:
        return False
    y = node.output[0]
    weights = np.concatenate([item.weights for item in branches], axis=1).astype(np.float32)
    terms = np.concatenate([item.term for item in branches]).astype(np.float32)
    merged = graph.new_constant(weights, f"{y}.weights")
    whole = graph.emit("MatMul", [name, merged], graph.fresh(f"{y}.merged"))
    if terms.any():
        whole = graph.emit("Add", [whole, graph.new_constant(terms, f"{y}.terms")], graph.fresh(f"{y}.all"))
    start = 0
    for branch in branches:
        for skipped in branch.nodes:
            graph.skip(skipped)
        columns = np.arange(start, start + len(branch.term), dtype=np.int64)
        start += len(branch.term)
        out = branch.nodes[-1].output[0]
        where = graph.new_constant(columns, f"{out}.columns")
        graph.emit("Gather", [whole, where], out, axis=len(shape) - 1)
    return True


def _branch(graph: Graph, product: onnx.NodeProto) -> _Branch | None:
    """The product with all factors and terms that alone follow it, if its matrix is constant."""
    weights = constant_matrix(graph, product)
    if weights is None:
        return None
    term, nodes = np.zeros(weights.shape[1]), [product]
    while (after := graph.only_consumer(nodes[-1].output[0])) is not None and after.op_type in ("Mul", "Add"):
        other = after.input[1] if after.input[0] == nodes[-1].output[0] else after.input[0]
        value = graph.constant(other)
        if value is None or value.dtype != np.float32 or value.shape not in ((), (1,), term.shape):
            break
        nodes.append(after)
        if after.op_type == "Add":
            term = term + value
        else:
            weights, term = weights * value, term * value
    return _Branch(weights, term, tuple(nodes))
