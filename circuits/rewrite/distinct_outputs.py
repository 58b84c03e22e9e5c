"""Two outputs that hold the same numbers: the second one gets a node of its own, since EZKL refuses one tensor given out twice.

A Gather of every column costs nothing in a circuit and keeps the importer from seeing that they are the same.
An LSTM over one step gives its last state twice, and rewriting makes that plain.
"""

from __future__ import annotations

import numpy as np
import onnx

from .graph import Graph, rewrite_nodes

_SAME_NUMBERS = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put a Gather before each output that repeats an earlier one; the same object if none does."""
    sources: dict[str, str] = {}

    def visit(graph: Graph, node: onnx.NodeProto) -> bool:
        changed = False
        for index, name in enumerate(node.output):
            shape = graph.shape(name)
            if name not in graph.outputs or not shape:
                continue
            first = sources.setdefault(_source(graph, name), name)
            if first != name:
                inner = graph.fresh(f"{name}.same")
                node.output[index] = inner
                graph.keep(node)
                columns = graph.new_constant(np.arange(shape[-1], dtype=np.int64), f"{name}.columns")
                graph.emit("Gather", [inner, columns], name, axis=len(shape) - 1)
                changed = True
        return changed

    return rewrite_nodes(model, visit)


def _source(graph: Graph, name: str) -> str:
    while (maker := graph.producer(name)) is not None and maker.op_type in _SAME_NUMBERS:
        name = maker.input[0]
    return name
