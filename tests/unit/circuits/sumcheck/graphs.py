"""ONNX graphs by hand for the tests of import, read in this process, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.rewrite.rules import replay
from verinfer.circuits.sumcheck import _reading
from verinfer.circuits.sumcheck.network import Network, Reals, read_network

Constants = dict[str, Any]
node = helper.make_node


def graph(shape: Sequence[int], nodes: Sequence[onnx.NodeProto], constants: Constants) -> onnx.ModelProto:
    """A model of one input ``x`` and one output ``y``, of opset 17; constants become binary32 unless they are integers."""
    tensors = [
        numpy_helper.from_array(
            np.asarray(value, None if np.asarray(value).dtype.kind == "i" else np.float32), name
        )
        for name, value in constants.items()
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = helper.make_graph(nodes, "g", [given], [onnx.ValueInfoProto(name="y")], tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    model.graph.output[0].CopyFrom(inferred.graph.output[0])
    return model


def read(model: onnx.ModelProto, folder: Path) -> Network:
    """The stages of a model, as the child reads them."""
    plain, numbers = folder / "plain.onnx", folder / "stages.bin"
    plain.write_bytes(replay(model, ["fold", "batch-normalisation", "fold"]).SerializeToString())
    return read_network(_reading.read(model=str(plain), output=str(numbers)), numbers.read_bytes())


def fp32(model: onnx.ModelProto, inputs: Reals) -> Reals:
    """What onnxruntime computes for each of the inputs, flat, [n, outputs]."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    return np.stack(
        [session.run(None, {"x": x.astype(np.float32).reshape(shape)})[0].ravel() for x in inputs]
    ).astype(np.float64)


def examples() -> dict[str, tuple[Sequence[int], list[onnx.NodeProto], Constants]]:
    """Networks that together hold everything that can be imported, with weights from a fixed seed."""
    rng = np.random.default_rng(7)

    def w(*shape: int) -> Any:
        return rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1)

    head = [node("Flatten", ["h"], ["f"]), node("Gemm", ["f", "wo", "bo"], ["y"], transB=1)]
    return {
        "geometry": (
            (1, 2, 9, 11),
            [
                node("Conv", ["x", "w0", "b0"], ["a"], pads=[1, 2, 2, 2], strides=[2, 2]),
                node("Relu", ["a"], ["ar"]),
                node("Conv", ["ar", "w1"], ["b"], dilations=[2, 2], pads=[2, 2, 2, 2], group=2),
                node("Relu", ["b"], ["br"]),
                node("Conv", ["br", "w2"], ["c"], auto_pad="SAME_UPPER"),
                node("Clip", ["c", "zero", "six"], ["h"]),
                *head,
            ],
            {
                "w0": w(4, 2, 3, 5), "b0": w(4), "w1": w(6, 2, 3, 3), "w2": w(3, 6, 2, 2), "zero": 0.0, "six": 0.7,
                "wo": w(5, 90), "bo": w(5),
            },
        ),
        "pools": (
            (1, 3, 8, 8),
            [
                node("AveragePool", ["x"], ["a"], kernel_shape=[2, 2], strides=[2, 2]),
                node("Conv", ["a", "w0", "b0"], ["b"], pads=[1, 1, 1, 1]),
                node("AveragePool", ["b"], ["c"], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=1),
                node("Relu", ["c"], ["d"]),
                node("GlobalAveragePool", ["d"], ["h"]),
                *head,
            ],
            {"w0": w(5, 3, 3, 3), "b0": w(5), "wo": w(4, 5), "bo": w(4)},
        ),
        "residual": (
            (1, 2, 6, 6),
            [
                node("Conv", ["x", "w0"], ["a0"], pads=[1, 1, 1, 1]),
                node("BatchNormalization", ["a0", "g", "b", "m", "v"], ["a1"]),
                node("Relu", ["a1"], ["a"]),
                node("Conv", ["a", "w1", "b1"], ["p"], pads=[1, 1, 1, 1], strides=[2, 2]),
                node("Relu", ["p"], ["pr"]),
                node("Conv", ["pr", "w2", "b1"], ["q"], pads=[1, 1, 1, 1]),
                node("Conv", ["a", "w3"], ["s"], strides=[2, 2]),
                node("Add", ["q", "s"], ["sum"]),
                node("Relu", ["sum"], ["r"]),
                node("Conv", ["r", "w2", "b1"], ["t"], pads=[1, 1, 1, 1]),
                node("Add", ["r", "t"], ["u"]),
                node("Relu", ["u"], ["k"]),
                node("ReduceMean", ["k"], ["h"], axes=[2, 3], keepdims=0),
                node("Gemm", ["h", "wo", "bo"], ["y"], transB=1, alpha=0.5, beta=2.0),
            ],
            {
                "w0": w(4, 2, 3, 3), "g": 1 + w(4) / 4, "b": w(4), "m": w(4) / 4, "v": 1 + w(4) ** 2,
                "w1": w(6, 4, 3, 3), "b1": w(6), "w2": w(6, 6, 3, 3), "w3": w(6, 4, 1, 1), "wo": w(3, 6), "bo": w(3),
            },
        ),
        "affine": (
            (1, 3, 4, 5),
            [
                node("Sub", ["x", "mean"], ["a"]),
                node("Div", ["a", "std"], ["b"]),
                node("Conv", ["b", "w0"], ["c"], pads=[1, 1, 1, 1]),
                node("Mul", ["factor", "c"], ["d"]),
                node("Sub", ["one", "d"], ["e"]),
                node("Relu", ["e"], ["f"]),
                node("Add", ["f", "b"], ["g"]),
                node("Transpose", ["g"], ["t"], perm=[0, 2, 3, 1]),
                node("Reshape", ["t", "shape"], ["rows"]),
                node("MatMul", ["rows", "wo"], ["m"]),
                node("Add", ["m", "bo"], ["y0"]),
                node("Relu", ["y0"], ["y"]),
            ],
            {
                "mean": w(3, 1, 1), "std": 1 + w(1, 3, 1, 1) ** 2, "w0": w(3, 3, 3, 3), "factor": w(3, 1, 1), "one": 1.0,
                "shape": np.array([1, -1]), "wo": w(60, 7) / 3, "bo": w(7),
            },
        ),
        "rows": (
            (1, 5, 6),
            [
                node("MatMul", ["x", "w0"], ["a"]),
                node("Add", ["a", "b0"], ["b"]),
                node("Relu", ["b"], ["c"]),
                node("MatMul", ["c", "w1"], ["d"]),
                node("Add", ["d", "x"], ["h"]),
                *head,
            ],
            {"w0": w(6, 9), "b0": w(9), "w1": w(9, 6) / 3, "wo": w(2, 30), "bo": w(2)},
        ),
        "parts": (
            (1, 2, 6, 6),
            [
                node("Conv", ["x", "w0"], ["a0"], pads=[1, 1, 1, 1]),
                node("Relu", ["a0"], ["a"]),
                node("Conv", ["a", "w1", "b1"], ["b"]),
                node("Concat", ["b", "x", "a"], ["c0"], axis=1),
                node("Relu", ["c0"], ["c"]),
                node("AveragePool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
                node("Transpose", ["p"], ["t"], perm=[0, 2, 3, 1]),
                node("Flatten", ["t"], ["one"]),
                node("Flatten", ["c"], ["other"]),
                node("Concat", ["one", "other"], ["h"], axis=-1),
                *head,
            ],
            {"w0": w(4, 2, 3, 3), "w1": w(3, 4, 1, 1), "b1": w(3), "wo": w(3, 405), "bo": w(3)},
        ),
    }  # fmt: skip
