"""Factors and terms along the last axis that several products take: each product's constants take them instead.

`linear_chain` merges what has one user; the factors of a normalisation before queries, keys and values have three.
"""

from __future__ import annotations

import numpy as np
import onnx

from .affine import affine_before, constant_matrix
from .graph import Graph, rewrite_nodes


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move factors and terms into products that all take the same tensor."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    weights = constant_matrix(graph, node)
    if weights is None or not _only_products(graph, node.input[0]):
        return False
    source, factor, term = affine_before(graph, node.input[0])
    if source == node.input[0]:
        return False
    y = node.output[0]
    matrix = graph.new_constant((factor[:, None] * weights).astype(np.float32), f"{y}.weights")
    if not term.any():
        graph.emit("MatMul", [source, matrix], y)
        return True
    product = graph.emit("MatMul", [source, matrix], graph.fresh(f"{y}.product"))
    graph.emit("Add", [product, graph.new_constant((term @ weights).astype(np.float32), f"{y}.term")], y)
    return True


def _only_products(graph: Graph, name: str) -> bool:
    """Whether two products or more take this tensor, and nobody else sees it."""
    users = graph.consumers(name)
    return (
        len(users) > 1
        and name not in graph.outputs
        and all(user.input[0] == name and constant_matrix(graph, user) is not None for user in users)
    )
