"""Quantised operators as real arithmetic, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.rewrite.quantised import QUANTISED, quantised
from verinfer.verifier.errors import Malformed

Tensors = dict[str, npt.NDArray[Any]]

_RANDOM = np.random.default_rng(4)
# Weights have 7 bits: with 8, onnxruntime's own sums saturate at 16 bits on some processors.
_NUMBERS: Tensors = {
    "s": np.array(0.05, np.float32),
    "z": np.array(120, np.uint8),
    "sw": np.array([0.02, 0.03], np.float32),
    "zw": np.array([0, 0], np.int8),
    "s1": np.array(0.02, np.float32),
    "z1": np.array(3, np.int8),
    "w": _RANDOM.integers(-64, 64, (4, 2)).astype(np.int8),
    "k": _RANDOM.integers(-64, 64, (2, 4, 3)).astype(np.int8),
    "b": np.array([100, -50], np.int32),
    "sy": np.array(0.4, np.float32),
}


def _node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


_QUANTIZE = _node("QuantizeLinear", "x s z", "q")
CASES: dict[str, tuple[list[int], list[onnx.NodeProto]]] = {
    "there-and-back": ([1, 4], [_QUANTIZE, _node("DequantizeLinear", "q s z", "y")]),
    "weights": ([1, 4], [_node("DequantizeLinear", "w s1 z1", "f"), _node("MatMul", "x f", "y")]),
    "weights-by-channel": (
        [1, 4],
        [_node("DequantizeLinear", "w sw zw", "f", axis=1), _node("MatMul", "x f", "y")],
    ),
    "integer-product": (
        [1, 4],
        [_QUANTIZE, _node("MatMulInteger", "q w z z1", "i"), _node("Cast", "i", "y", to=TensorProto.FLOAT)],
    ),
    "linear-product": (
        [1, 4],
        [
            _QUANTIZE,
            _node("QLinearMatMul", "q s z w s1 z1 sy z", "r"),
            _node("DequantizeLinear", "r sy z", "y"),
        ],
    ),
    "convolution": (
        [1, 4, 6],
        [
            _QUANTIZE,
            _node("QLinearConv", "q s z k sw zw sy z b", "r", pads=[1, 1]),
            _node("DequantizeLinear", "r sy z", "y"),
        ],
    ),
}


def _model(shape: list[int], nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in _NUMBERS.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("name", CASES)
def test_quantised_arithmetic_gives_the_same_numbers(name: str) -> None:
    """Rounding, zero points and saturation are kept; no quantised operator is left; a second time there is nothing to do."""
    model = _model(*CASES[name])
    plain = quantised(model)
    assert not QUANTISED & {node.op_type for node in plain.graph.node}
    onnx.checker.check_model(plain, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    first, second = (
        onnxruntime.InferenceSession(item.SerializeToString(), options) for item in (model, plain)
    )
    for spread in (0.5, 3.0, 30.0):
        feed = {"x": _RANDOM.normal(0, spread, CASES[name][0]).astype(np.float32)}
        (before,), (after,) = first.run(None, feed), second.run(None, feed)
        np.testing.assert_allclose(after, before, atol=1e-4 * max(float(np.abs(before).max()), 1e-6), rtol=0)
    assert quantised(plain) is plain


def test_a_computed_scale_is_refused() -> None:
    """The error says what is the matter, with a code."""
    nodes = [_node("ReduceMax", "x", "m", keepdims=0), _node("QuantizeLinear", "x m z", "q")]
    with pytest.raises(Malformed, match="computed scale") as caught:
        quantised(_model([1, 4], [*nodes, _node("DequantizeLinear", "q m z", "y")]))
    assert caught.value.code == "model-unsupported"
