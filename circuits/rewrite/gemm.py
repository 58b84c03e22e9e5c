"""Gemm as a MatMul and an Add, with alpha, beta and the transpositions in the constants."""

from __future__ import annotations

import numpy as np
import onnx

from .graph import Graph, attribute, optional_input, rewrite_nodes


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every Gemm whose factors can go into constants."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type != "Gemm":
        return False
    alpha, beta = (np.float32(attribute(node, name, 1.0)) for name in ("alpha", "beta"))
    right, bias_name = graph.constant(node.input[1]), optional_input(node, 2)
    bias = graph.constant(bias_name) if bias_name else None
    if (right is None and alpha != 1) or (bias_name and bias is None and beta != 1):
        return False
    out = node.output[0]
    left = node.input[0]
    if attribute(node, "transA", 0):
        left = graph.emit("Transpose", [left], graph.fresh(f"{out}.left"), perm=[1, 0])
    turn = attribute(node, "transB", 0)
    if right is not None:
        weights = graph.new_constant((right.T if turn else right) * alpha, f"{out}.weights")
    elif turn:
        weights = graph.emit("Transpose", [node.input[1]], graph.fresh(f"{out}.right"), perm=[1, 0])
    else:
        weights = node.input[1]
    if not bias_name:
        graph.emit("MatMul", [left, weights], out)
        return True
    product = graph.emit("MatMul", [left, weights], graph.fresh(f"{out}.product"))
    added = bias_name if bias is None else graph.new_constant(bias * beta, f"{out}.bias")
    graph.emit("Add", [product, added], out)
    return True
