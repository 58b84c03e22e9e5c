"""Names of inputs and outputs that a statement can carry: letters, digits, dot, dash and underscore, 64 at most."""

from __future__ import annotations

import re

import onnx

_MOST = 64
_OTHER = re.compile(r"[^a-zA-Z0-9._-]+")


def plain_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with such names at its edges; the same object if they are so already."""
    initialised = {tensor.name for tensor in model.graph.initializer}
    edges = [value.name for value in model.graph.input if value.name not in initialised]
    edges += [value.name for value in model.graph.output]
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)} | {
        *edges,
        *initialised,
    }
    new = {}
    for name in edges:
        wanted = _plain(name)
        if wanted != name:
            new[name] = _free(wanted, taken)
            taken.add(new[name])
    if not new:
        return model
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for node in plain.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = new.get(name, name)
    for value in (*plain.graph.input, *plain.graph.output, *plain.graph.value_info):
        value.name = new.get(value.name, value.name)
    return plain


def _plain(name: str) -> str:
    return _OTHER.sub("_", name).lstrip("._-")[:_MOST] or "tensor"


def _free(name: str, taken: set[str]) -> str:
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name[: _MOST - 8]}_{number}"
    return free
