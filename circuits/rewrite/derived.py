"""Shapes and types as ONNX's own inference derives them, from nothing that a file's author only claims.

A file may say of a tensor inside what shape it has, and inference believes that wherever it finds none itself.
"""

from __future__ import annotations

import onnx
from onnx import shape_inference


def derive(model: onnx.ModelProto, *, check_type: bool = False) -> onnx.GraphProto:
    """The graph with what inference derives; raises `onnx.shape_inference.InferenceError`, with `check_type` for types too."""
    bare = without_hints(model)
    return shape_inference.infer_shapes(bare, check_type=check_type, strict_mode=True, data_prop=True).graph


def without_hints(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that claims nothing of tensors inside, nor the shapes of outputs that nodes take."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    bare.graph.ClearField("value_info")
    taken = {name for node in bare.graph.node for name in node.input}
    for value in bare.graph.output:
        if value.name in taken:
            value.type.tensor_type.ClearField("shape")
    return bare
