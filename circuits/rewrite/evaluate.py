"""The value of one node whose inputs are known, by onnxruntime without its optimisations.

Only the value enters the rewritten graph, so another release of onnxruntime gives the same graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from .graph import Array


def evaluate(node: onnx.NodeProto, values: Sequence[Array | None], opset: int) -> list[Array] | None:
    """The node's outputs for these inputs (None where one is left out); None where onnxruntime refuses or gives no numbers."""
    # Few networks have anything to work out, and importing it takes a child longer than the rest of a rewrite.
    import onnxruntime

    feed = {name: value for name, value in zip(node.input, values, strict=True) if name and value is not None}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feed.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    model = helper.make_model(
        helper.make_graph([node], "one", inputs, outputs),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        results = [np.asarray(value) for value in session.run(None, feed)]
    except Exception:  # noqa: BLE001 - the runtime's exceptions have no common class of their own
        return None
    return results if all(value.dtype.kind in "fiub" for value in results) else None
