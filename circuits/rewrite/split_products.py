"""A batch of products of two tensors as one product for each, as the heads of an attention layer are.

EZKL's argument for a batch costs several times what it costs for each product alone.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from .graph import Graph, rewrite_nodes

_MOST = 64
"""A larger batch makes a graph too large to read."""


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Split every batch of products of two tensors."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type != "MatMul" or any(graph.constant(name) is not None for name in node.input):
        return False
    left, right = (graph.shape(name) for name in node.input)
    if not left or not right or len(left) < 3 or left[:-2] != right[:-2]:
        return False
    batch, y = prod(left[:-2]), node.output[0]
    if not 1 < batch <= _MOST:
        return False
    sides = [
        graph.reshape(name, (batch, *shape[-2:]), graph.fresh(f"{y}.batch"))
        for name, shape in zip(node.input, (left, right), strict=True)
    ]
    products = []
    for index in range(batch):
        which = graph.new_constant(np.array([index], np.int64), f"{y}.which")
        pair = [
            graph.reshape(
                graph.emit("Gather", [side, which], graph.fresh(f"{y}.one"), axis=0),
                shape[-2:],
                graph.fresh(f"{y}.matrix"),
            )
            for side, shape in zip(sides, (left, right), strict=True)
        ]
        products.append(graph.emit("MatMul", pair, graph.fresh(f"{y}.product")))
    together = graph.emit("Concat", products, graph.fresh(f"{y}.products"), axis=0)
    graph.reshape(together, (*left[:-1], right[-1]), y)
    return True
