"""The sizes of every Reshape written out, without 0 and -1.

Applied when a network is wrapped, whatever the rules: ONNX's 0 copies the size at its own place, while the importer that EZKL
uses takes the next one that is left, so one file could be two networks.
Source: ONNX operator schema of Reshape.
"""

from __future__ import annotations

import onnx

from .graph import Graph, rewrite_nodes


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write out the sizes that are not."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    sizes = graph.constant(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
    made = graph.shape(node.output[0])
    if sizes is None or made is None or (sizes > 0).all():
        return False
    graph.reshape(node.input[0], made, node.output[0])
    return True
