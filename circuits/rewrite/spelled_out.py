"""Operators that EZKL's importer does not know, in operators that it does.

Source: ONNX operator specifications of each; for GELU Hendrycks and Gimpel (2016), for Mish Misra (2019).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt

import numpy as np
import onnx

from .graph import Graph, attribute, optional_input, rewrite_nodes

SPELLED_OUT = frozenset({"Gelu", "GroupNormalization", "LpNormalization", "Mish"})
"""Operators that are never left in a plain model; others are rewritten where the importer fails with them."""


def spelled_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without them; the same object if it has none."""

    def visit(graph: Graph, node: onnx.NodeProto) -> bool:
        rewrite = _REWRITES.get(node.op_type)
        return rewrite is not None and rewrite(graph, node)

    return rewrite_nodes(model, visit)


def _gelu(graph: Graph, node: onnx.NodeProto) -> bool:
    x, y = node.input[0], node.output[0]
    if attribute(node, "approximate", "none") == "tanh":
        cube = _emit(graph, y, "Mul", x, _emit(graph, y, "Mul", x, x))
        inner = _emit(graph, y, "Add", x, _emit(graph, y, "Mul", cube, _number(graph, y, 0.044715)))
        curve = _emit(graph, y, "Tanh", _emit(graph, y, "Mul", inner, _number(graph, y, sqrt(2 / np.pi))))
    else:
        curve = _emit(graph, y, "Erf", _emit(graph, y, "Mul", x, _number(graph, y, sqrt(0.5))))
    half = _emit(graph, y, "Mul", x, _number(graph, y, 0.5))
    graph.emit("Mul", [half, _emit(graph, y, "Add", curve, _number(graph, y, 1.0))], y)
    return True


def _mish(graph: Graph, node: onnx.NodeProto) -> bool:
    x, y = node.input[0], node.output[0]
    graph.emit("Mul", [x, _emit(graph, y, "Tanh", _emit(graph, y, "Softplus", x))], y)
    return True


def _lp_normalization(graph: Graph, node: onnx.NodeProto) -> bool:
    x, y = node.input[0], node.output[0]
    operator = "ReduceL1" if attribute(node, "p", 2) == 1 else "ReduceL2"
    norm = _reduce(graph, operator, x, attribute(node, "axis", -1), y)
    graph.emit("Div", [x, norm], y)
    return True


def _group_normalization(graph: Graph, node: onnx.NodeProto) -> bool:
    """Since opset 21 there is a scale for each channel, before for each group."""
    x, y, groups = node.input[0], node.output[0], attribute(node, "num_groups", 1)
    shape, scale, bias = graph.shape(x), graph.constant(node.input[1]), graph.constant(node.input[2])
    if shape is None or scale is None or bias is None or shape[1] % groups:
        return False
    batch, channels = shape[:2]
    repeat = 1 if len(scale) == channels else channels // groups
    rows = graph.reshape(x, (batch, groups, prod(shape[1:]) // groups), graph.fresh(f"{y}.groups"))
    centred = _emit(graph, y, "Sub", rows, _reduce(graph, "ReduceMean", rows, -1, y))
    variance = _reduce(graph, "ReduceMean", _emit(graph, y, "Mul", centred, centred), -1, y)
    safe = _emit(graph, y, "Add", variance, _number(graph, y, attribute(node, "epsilon", 1e-5)))
    normal = _emit(graph, y, "Div", centred, _emit(graph, y, "Sqrt", safe))
    back = graph.reshape(normal, shape, graph.fresh(f"{y}.normal"))
    ones = (1, channels) + (1,) * (len(shape) - 2)
    factor, shift = (
        graph.new_constant(np.repeat(value, repeat).astype(np.float32).reshape(ones), f"{y}.{name}")
        for name, value in (("scale", scale), ("bias", bias))
    )
    graph.emit("Add", [_emit(graph, y, "Mul", back, factor), shift], y)
    return True


def _tile(graph: Graph, node: onnx.NodeProto) -> bool:
    """Copies side by side, axis after axis."""
    repeats, y, current = graph.constant(optional_input(node, 1)), node.output[0], node.input[0]
    if repeats is None or graph.constant(current) is not None or (repeats == 1).all():
        return False
    for axis, count in enumerate(repeats.tolist()):
        if count > 1:
            current = graph.emit("Concat", [current] * count, graph.fresh(f"{y}.tiled"), axis=axis)
    graph.emit("Identity", [current], y)
    return True


def _pad(graph: Graph, node: onnx.NodeProto) -> bool:
    """Reflected and repeated edges are a choice of elements on each axis."""
    mode, shape, y = attribute(node, "mode", "constant"), graph.shape(node.input[0]), node.output[0]
    pads = graph.constant(optional_input(node, 1))
    if mode not in ("reflect", "edge") or shape is None or pads is None or optional_input(node, 3):
        return False
    if len(pads) != 2 * len(shape) or (pads < 0).any():
        return False
    current = node.input[0]
    for axis, size in enumerate(shape):
        before, after = int(pads[axis]), int(pads[axis + len(shape)])
        if before or after:
            places = np.pad(np.arange(size, dtype=np.int64), (before, after), mode=mode)
            chosen = graph.new_constant(places, f"{y}.places")
            current = graph.emit("Gather", [current, chosen], graph.fresh(f"{y}.padded"), axis=axis)
    graph.emit("Identity", [current], y)
    return True


def _max(graph: Graph, node: onnx.NodeProto) -> bool:
    """The larger of two numbers, b + relu(a - b); the importer takes Max of constants and scalars only."""
    if len(node.input) != 2 or graph.kind(node.output[0]) != onnx.TensorProto.FLOAT:
        return False
    a, b = node.input
    constant = graph.constant(b)
    if constant is not None and constant.size == 1:
        return False
    y = node.output[0]
    graph.emit("Add", [b, _emit(graph, y, "Relu", _emit(graph, y, "Sub", a, b))], y)
    return True


_REWRITES: dict[str, Callable[[Graph, onnx.NodeProto], bool]] = {
    "Gelu": _gelu,
    "GroupNormalization": _group_normalization,
    "LpNormalization": _lp_normalization,
    "Max": _max,
    "Mish": _mish,
    "Pad": _pad,
    "Tile": _tile,
}


def _emit(graph: Graph, hint: str, operator: str, *inputs: str) -> str:
    return graph.emit(operator, inputs, graph.fresh(f"{hint}.part"))


def _number(graph: Graph, hint: str, value: float) -> str:
    return graph.new_constant(np.array([value], np.float32), f"{hint}.number")


def _reduce(graph: Graph, operator: str, name: str, axis: int, hint: str) -> str:
    """Over one axis, which stays with size 1; the axis is an input since opset 18."""
    output = graph.fresh(f"{hint}.reduced")
    if graph.opset < 18:
        return graph.emit(operator, [name], output, axes=[axis], keepdims=1)
    axes = graph.new_constant(np.array([axis], np.int64), f"{hint}.axis")
    return graph.emit(operator, [name, axes], output, keepdims=1)
