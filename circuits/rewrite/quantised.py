"""Quantised arithmetic in real numbers that happen to be integers: EZKL takes some of these operators and computes other values.

A quantised tensor becomes an FP32 one with the same integers, so rounding and saturation stay as they were.
Source: ONNX operator specifications of QuantizeLinear, DequantizeLinear, MatMulInteger, QLinearMatMul and QLinearConv.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .graph import Array, Graph, attribute, optional_input, rewrite_nodes
from .scores import unsupported

_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without them; the same object if it has none. Raises `Malformed` (``model-unsupported``)."""

    def visit(graph: Graph, node: onnx.NodeProto) -> bool:
        rewrite = _REWRITES.get(node.op_type)
        if rewrite is None:
            return False
        if graph.opset < 11:
            raise unsupported(f"{node.op_type} needs opset 11 or later here")
        rewrite(graph, node)
        return True

    return rewrite_nodes(model, visit)


def _quantize(graph: Graph, node: onnx.NodeProto) -> None:
    scale, zero = _scale(graph, node, 1, 2)
    _to_integers(graph, node.input[0], scale, zero, node.output[0])


def _dequantize(graph: Graph, node: onnx.NodeProto) -> None:
    y, given = node.output[0], graph.constant(node.input[0])
    scale, zero = _scale(graph, node, 1, 2, given)
    if given is not None:
        value = (given.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
        graph.emit("Constant", [], y, value=numpy_helper.from_array(value, y))
        return
    graph.emit("Mul", [_centred(graph, node.input[0], zero, y), _constant(graph, scale, y)], y)


def _matmul_integer(graph: Graph, node: onnx.NodeProto) -> None:
    y = node.output[0]
    # A vector of zero points is by row of the first matrix and by column of the second.
    first, second = (_zero(graph, optional_input(node, index)) for index in (2, 3))
    rows = first[:, None] if first.size > 1 and first.ndim == 1 else first
    sides = [
        _centred(graph, name, zero, y) for name, zero in zip(node.input[:2], (rows, second), strict=True)
    ]
    graph.emit("MatMul", sides, y)


def _linear_matmul(graph: Graph, node: onnx.NodeProto) -> None:
    y = node.output[0]
    (scale_a, zero_a), (scale_b, zero_b), (scale_y, zero_y) = (
        _scale(graph, node, index, index + 1) for index in (1, 4, 6)
    )
    if scale_a.size > 1:
        raise unsupported("a QLinearMatMul has a scale for each row")
    sides = [_centred(graph, node.input[0], zero_a, y), _centred(graph, node.input[3], zero_b, y)]
    product = graph.emit("MatMul", sides, graph.fresh(f"{y}.product"))
    real = graph.emit("Mul", [product, _constant(graph, scale_a * scale_b, y)], graph.fresh(f"{y}.real"))
    _to_integers(graph, real, scale_y, zero_y, y)


def _linear_conv(graph: Graph, node: onnx.NodeProto) -> None:
    y, weights = node.output[0], graph.constant(node.input[3])
    (scale_x, zero_x), (scale_w, zero_w), (scale_y, zero_y) = (
        _scale(graph, node, index, index + 1) for index in (1, 4, 6)
    )
    if weights is None:
        raise unsupported("a QLinearConv has computed weights")
    per_channel = (-1,) + (1,) * (weights.ndim - 1)
    kernel = weights.astype(np.float32) - zero_w.astype(np.float32).reshape(per_channel)
    inputs = [_centred(graph, node.input[0], zero_x, y), _constant(graph, kernel, y)]
    if optional_input(node, 8):
        bias = graph.constant(node.input[8])
        if bias is None:
            raise unsupported("a QLinearConv has a computed bias")
        inputs.append(_constant(graph, bias, y))
    product = graph.fresh(f"{y}.product")
    copy = onnx.helper.make_node("Conv", inputs, [product])
    copy.attribute.extend(node.attribute)
    graph.keep(copy)
    scale = (scale_x * scale_w).reshape(-1, *per_channel[2:])
    real = graph.emit("Mul", [product, _constant(graph, scale, y)], graph.fresh(f"{y}.real"))
    _to_integers(graph, real, scale_y, zero_y, y)


_REWRITES: dict[str, Callable[[Graph, onnx.NodeProto], None]] = {
    "DequantizeLinear": _dequantize,
    "MatMulInteger": _matmul_integer,
    "QLinearConv": _linear_conv,
    "QLinearMatMul": _linear_matmul,
    "QuantizeLinear": _quantize,
}
QUANTISED = frozenset(_REWRITES)
"""The operators that this takes away."""


def _to_integers(graph: Graph, name: str, scale: Array, zero: Array, output: str) -> None:
    """Rounded half to even, moved by the zero point and saturated, as QuantizeLinear does."""
    low, high = _RANGES.get(zero.dtype.name, (0, 0))
    if low == high:
        raise unsupported(f"a quantised tensor is of the type {zero.dtype.name}")
    current = graph.emit("Div", [name, _constant(graph, scale, output)], graph.fresh(f"{output}.steps"))
    current = graph.emit("Round", [current], graph.fresh(f"{output}.rounded"))
    if zero.any():
        current = graph.emit("Add", [current, _constant(graph, zero, output)], graph.fresh(f"{output}.moved"))
    bounds = [_constant(graph, np.array(bound), output) for bound in (low, high)]
    graph.emit("Clip", [current, *bounds], output)


def _scale(
    graph: Graph, node: onnx.NodeProto, scale: int, zero: int, given: Array | None = None
) -> tuple[Array, Array]:
    """Scale and zero point, shaped for broadcasting where there is one for each place on an axis."""
    found = graph.constant(node.input[scale])
    if found is None:
        raise unsupported(f"{node.op_type} has a computed scale")
    points = _zero(graph, optional_input(node, zero))
    if attribute(node, "block_size", 0):
        raise unsupported(f"{node.op_type} has a scale for each block")
    if found.size > 1 and "Linear" in node.op_type and not node.op_type.startswith("QLinear"):
        shape = graph.shape(node.input[0]) if given is None else given.shape
        if shape is None:
            raise unsupported(f"{node.op_type} has a scale for each place of an axis of unknown size")
        sizes = [1] * len(shape)
        sizes[attribute(node, "axis", 1)] = -1
        return found.reshape(sizes), points.reshape(sizes) if points.size > 1 else points
    return (found.reshape(()) if found.size == 1 else found), points


def _zero(graph: Graph, name: str) -> Array:
    """A zero point, which is 0 of UINT8 where it is left out."""
    if not name:
        return np.zeros((), np.uint8)
    found = graph.constant(name)
    if found is None:
        raise unsupported("a quantised tensor has a computed zero point")
    return found.reshape(()) if found.size == 1 else found


def _centred(graph: Graph, name: str, zero: Array, hint: str) -> str:
    """A tensor's integers less the zero point, as FP32."""
    value = graph.constant(name)
    if value is not None:
        return _constant(graph, value.astype(np.float32) - zero.astype(np.float32), hint)
    real = graph.emit("Cast", [name], graph.fresh(f"{hint}.integers"), to=TensorProto.FLOAT)
    if not zero.any():
        return real
    return graph.emit("Sub", [real, _constant(graph, zero, hint)], graph.fresh(f"{hint}.centred"))


def _constant(graph: Graph, value: Array, hint: str) -> str:
    return graph.new_constant(np.asarray(value, np.float32), f"{hint}.number")
