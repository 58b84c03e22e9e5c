"""Two datatypes at the edges: every real number is FP32, every integer or truth value that goes in or out is INT64.

Wider and narrower floats become FP32 all through the graph; integers inside stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_FLOATS = {TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
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
    # Lists, since each narrowing must happen.
    changed = [_narrow(tensor) for tensor in _tensors(plain.graph)]
    changed += [_retarget(node) for node in plain.graph.node if node.op_type == "Cast"]
    changed += [_float(value) for value in (*plain.graph.input, *plain.graph.output, *plain.graph.value_info)]
    changed += [_widen_edges(plain.graph)]
    if not any(changed):
        return model
    plain.graph.ClearField("value_info")
    return plain


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _narrow(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type not in _FLOATS:
        return False
    with np.errstate(over="ignore"):
        # Too large for FP32 becomes infinite, which is refused afterwards.
        narrow = numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))
    return True


def _retarget(node: onnx.NodeProto) -> bool:
    found = [item for item in node.attribute if item.name == "to" and item.i in _FLOATS]
    for item in found:
        item.i = TensorProto.FLOAT
    return bool(found)


def _float(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    if kind.elem_type not in _FLOATS:
        return False
    kind.elem_type = TensorProto.FLOAT
    return True


def _widen_edges(graph: onnx.GraphProto) -> bool:
    initialised = {tensor.name for tensor in graph.initializer}
    first, last = [], []
    for value in graph.input:
        if value.name not in initialised and value.type.tensor_type.elem_type in _INTEGERS:
            inner = f"{value.name}.narrow"
            _rename(graph, value.name, inner)
            first.append(helper.make_node("Cast", [value.name], [inner], to=value.type.tensor_type.elem_type))
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
