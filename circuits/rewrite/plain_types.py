"""Two datatypes at the edges: every real number is FP32, every integer or truth value that goes in or out is INT64.

Wider and narrower floats become FP32 all through the graph, and integers of 8 and 16 bits INT32, since the operators that
converters write for them often take no others; a model with operators of quantised arithmetic keeps its integers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_FLOATS = {TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_SHORT: set[int] = {TensorProto.INT8, TensorProto.INT16, TensorProto.UINT8, TensorProto.UINT16}
_WIDE = TensorProto.INT32
_INTEGERS = {
    TensorProto.BOOL,
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.INT32,
    TensorProto.UINT8,
    TensorProto.UINT16,
    TensorProto.UINT32,
    TensorProto.UINT64,
}


def plain_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with FP32 and INT64 at its edges and no other float inside; the same object if it is so already."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    quantised = any("Quantize" in node.op_type or "Integer" in node.op_type for node in model.graph.node)
    short: set[int] = set() if quantised else _SHORT
    # Lists, since each conversion must happen.
    changed = [_convert(tensor, short) for tensor in _tensors(plain.graph)]
    changed += [_retarget(node, short) for node in plain.graph.node if node.op_type == "Cast"]
    changed += [_float(value) for value in (*plain.graph.input, *plain.graph.output)]
    changed += [_widen_edges(plain.graph, short)]
    if not any(changed):
        return model
    plain.graph.ClearField("value_info")
    return plain


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _convert(tensor: onnx.TensorProto, short: set[int]) -> bool:
    if tensor.data_type not in _FLOATS | short:
        return False
    with np.errstate(over="ignore"):
        # Too large for FP32 becomes infinite, which is refused afterwards.
        kind = np.float32 if tensor.data_type in _FLOATS else np.int32
        converted = numpy_helper.to_array(tensor).astype(kind)
    tensor.CopyFrom(numpy_helper.from_array(converted, tensor.name))
    return True


def _retarget(node: onnx.NodeProto, short: set[int]) -> bool:
    changed = False
    for item in node.attribute:
        if item.name == "to" and item.i in _FLOATS | short:
            item.i = TensorProto.FLOAT if item.i in _FLOATS else _WIDE
            changed = True
    return changed


def _float(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    if kind.elem_type not in _FLOATS:
        return False
    kind.elem_type = TensorProto.FLOAT
    return True


def _widen_edges(graph: onnx.GraphProto, short: set[int]) -> bool:
    initialised = {tensor.name for tensor in graph.initializer}
    first, last = [], []
    for value in graph.input:
        if value.name not in initialised and value.type.tensor_type.elem_type in _INTEGERS:
            inner = f"{value.name}.narrow"
            _rename(graph, value.name, inner)
            kind = value.type.tensor_type.elem_type
            first.append(helper.make_node("Cast", [value.name], [inner], to=_WIDE if kind in short else kind))
            value.type.tensor_type.elem_type = TensorProto.INT64
    for value in graph.output:
        if value.type.tensor_type.elem_type in _INTEGERS:
            inner = f"{value.name}.narrow"
            _rename(graph, value.name, inner)
            last.append(helper.make_node("Cast", [inner], [value.name], to=TensorProto.INT64))
            value.type.tensor_type.elem_type = TensorProto.INT64
    nodes = [*first, *graph.node, *last]
    if first or last:
        graph.ClearField("node")
        graph.node.extend(nodes)
    return bool(first or last)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
