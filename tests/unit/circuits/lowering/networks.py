"""Small networks, one for each operator that a lowering rewrites; float32, batch 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Arrays = dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]


def network(nodes: Sequence[onnx.NodeProto], arrays: Arrays, width: int, outputs: int) -> onnx.ModelProto:
    """A network from x [1, width] to y [1, outputs]."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def _layers() -> Arrays:
    draw = np.random.default_rng(7)
    return {
        "first": draw.normal(0, 0.6, (4, 5)).astype(np.float32),
        "bias": draw.normal(0, 0.4, 5).astype(np.float32),
        "second": draw.normal(0, 0.6, (5, 3)).astype(np.float32),
        "thresholds": np.array([-0.5, -0.25, 0.0, 0.25, 0.75], np.float32),
        "turned": np.array([3, 1, 0, 2], np.int64),
        "one": np.array([1.0], np.float32),
        "quarter": np.array([0.25], np.float32),
        "least": np.array([0.05], np.float32),
        "power": np.array([-0.5], np.float32),
        "root": np.array([0.25], np.float32),
        "rows": np.array([0], np.int64),
    }


def _between(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """Some nodes from h to t between two products."""
    arrays = _layers()
    ends = [
        helper.make_node("MatMul", ["x", "first"], ["p"]),
        helper.make_node("Add", ["p", "bias"], ["h"]),
        *nodes,
        helper.make_node("MatMul", ["t", "second"], ["y"]),
    ]
    used = {name for node in ends for name in node.input}
    return network(ends, {name: array for name, array in arrays.items() if name in used}, 4, 3)


NETWORKS: dict[str, onnx.ModelProto] = {
    "relu": _between(helper.make_node("Relu", ["h"], ["t"])),
    "tanh": _between(helper.make_node("Tanh", ["h"], ["t"])),
    "sigmoid": _between(helper.make_node("Sigmoid", ["h"], ["t"])),
    "gate": _between(
        helper.make_node("Sigmoid", ["h"], ["s"]),
        helper.make_node("Tanh", ["h"], ["u"]),
        helper.make_node("Mul", ["s", "u"], ["t"]),
    ),
    "softmax": _between(helper.make_node("Softmax", ["h"], ["t"])),
    **{
        name: _between(
            helper.make_node("ReduceSumSquare", ["h"], ["v"], axes=[-1], keepdims=1),
            helper.make_node("Add", ["v", "least"], ["w"]),
            helper.make_node("Pow", ["w", power], ["s"]),
            helper.make_node("Mul", ["h", "quarter"], ["q"]),
            helper.make_node("Mul", ["q", "s"], ["t"]),
        )
        for name, power in {"normal": "power", "root": "root"}.items()
    },
    "erf": _between(
        helper.make_node("Erf", ["h"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["f"]),
        helper.make_node("Mul", ["h", "f"], ["t"]),
    ),
    "attention": _between(
        helper.make_node("Mul", ["h", "quarter"], ["q"]),
        helper.make_node("Transpose", ["q"], ["k"], perm=[1, 0]),
        helper.make_node("MatMul", ["k", "q"], ["a"]),
        helper.make_node("Softmax", ["a"], ["shares"]),
        helper.make_node("MatMul", ["q", "shares"], ["m"]),
        helper.make_node("ReduceSum", ["m", "rows"], ["t"], keepdims=1),
    ),
    "states": _between(
        helper.make_node("Sigmoid", ["h"], ["s"]),
        helper.make_node("Tanh", ["h"], ["u"]),
        helper.make_node("Mul", ["s", "u"], ["v"]),
        helper.make_node("Mul", ["h", "s"], ["w"]),
        helper.make_node("Add", ["v", "w"], ["c"]),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("Mul", ["c", "d"], ["t"]),
    ),
    "residual": _between(
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Tanh", ["h"], ["u"]),
        helper.make_node("Add", ["r", "u"], ["t"]),
    ),
    **{
        operator.lower(): _between(
            helper.make_node(operator, ["h", "thresholds"], ["b"]),
            helper.make_node("Cast", ["b"], ["t"], to=TensorProto.FLOAT),
        )
        for operator in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
}
