"""BatchNormalization in inference is one factor and one term per channel: both go into the layer before, or into Mul and Add."""

from __future__ import annotations

import numpy as np
import onnx

from .graph import Array, Graph, attribute, optional_input, rewrite_nodes


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every BatchNormalization with constant parameters."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type in ("Conv", "Gemm"):
        after = graph.only_consumer(node.output[0])
        if after is None or after.op_type != "BatchNormalization" or after.input[0] != node.output[0]:
            return False
        affine = _affine(graph, after)
        fold = _fold_conv if node.op_type == "Conv" else _fold_gemm
        if affine is None or not fold(graph, node, after.output[0], *affine):
            return False
        graph.skip(after)
        return True
    if node.op_type != "BatchNormalization":
        return False
    affine, shape = _affine(graph, node), graph.shape(node.input[0])
    if affine is None or shape is None or len(shape) < 2:
        return False
    out = node.output[0]
    factor, term = (
        graph.new_constant(value.astype(np.float32).reshape(-1, *[1] * (len(shape) - 2)), f"{out}.{name}")
        for value, name in zip(affine, ("factor", "term"), strict=True)
    )
    scaled = graph.emit("Mul", [node.input[0], factor], graph.fresh(f"{out}.scaled"))
    graph.emit("Add", [scaled, term], out)
    return True


def _affine(graph: Graph, node: onnx.NodeProto) -> tuple[Array, Array] | None:
    """Factor and term per channel, in binary64; None where they are computed, or the node trains."""
    values = [graph.constant(name) for name in node.input[1:5]]
    if attribute(node, "training_mode", 0) or any(node.output[1:]) or any(value is None for value in values):
        return None
    scale, shift, mean, variance = (np.float64(value) for value in values if value is not None)
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return factor, shift - mean * factor


def _fold_conv(graph: Graph, node: onnx.NodeProto, out: str, factor: Array, term: Array) -> bool:
    weights, bias_name = graph.constant(node.input[1]), optional_input(node, 2)
    bias = graph.constant(bias_name) if bias_name else np.zeros(1)
    if weights is None or bias is None:
        return False
    scaled = weights * factor.reshape(-1, *[1] * (weights.ndim - 1))
    _emit_like(graph, node, out, scaled, bias * factor + term)
    return True


def _fold_gemm(graph: Graph, node: onnx.NodeProto, out: str, factor: Array, term: Array) -> bool:
    weights, bias_name = graph.constant(node.input[1]), optional_input(node, 2)
    bias = graph.constant(bias_name) if bias_name else np.zeros(1)
    if weights is None or bias is None:
        return False
    scaled = weights * (factor[:, None] if attribute(node, "transB", 0) else factor)
    _emit_like(graph, node, out, scaled, bias * (attribute(node, "beta", 1.0) * factor) + term)
    return True


def _emit_like(graph: Graph, node: onnx.NodeProto, out: str, weights: Array, bias: Array) -> None:
    constants = [
        graph.new_constant(value.astype(np.float32), f"{out}.{name}")
        for value, name in ((weights, "weights"), (bias, "bias"))
    ]
    attributes = {
        item.name: attribute(node, item.name, None) for item in node.attribute if item.name != "beta"
    }
    graph.emit(node.op_type, [node.input[0], *constants], out, **attributes)
