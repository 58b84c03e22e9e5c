"""A last Softmax, LogSoftmax or ArgMax is left to the client: the output keeps its name and holds what the head would take.

A step of adoption that the owner asks for, since the answers change; the model that is pinned and proven is the one without
its head, and a rebuild says how it came from the file.
"""

from __future__ import annotations

import onnx

from .derived import derive
from .graph import attribute

_HEADS = {"Softmax", "LogSoftmax", "ArgMax"}


def cut_head(model: onnx.ModelProto) -> onnx.ModelProto:
    """Cut the head off a model with one output."""
    while (cut := _cut(model)) is not model:
        model = cut
    return model


def _cut(model: onnx.ModelProto) -> onnx.ModelProto:
    if len(model.graph.output) != 1:
        return model
    out = model.graph.output[0].name
    heads = [node for node in model.graph.node if node.output[0] == out]
    if not heads or heads[0].op_type not in _HEADS:
        return model
    taken = heads[0].input[0]
    makers = [node for node in model.graph.node if taken in node.output]
    # Clients take the first among equals.
    if not makers or attribute(heads[0], "select_last_index", 0):
        return model
    inferred = derive(model)
    value = next((item for item in inferred.value_info if item.name == taken), None)
    if value is None:
        return model
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    cut.graph.node.remove(heads[0])
    for node in cut.graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == taken:
                    names[position] = out
    cut.graph.output[0].type.CopyFrom(value.type)
    return cut
