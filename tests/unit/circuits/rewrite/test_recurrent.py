"""Unrolled LSTM, GRU and RNN nodes against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.rewrite import recurrent

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
INPUT, HIDDEN = 3, 5


def _model(
    operator: str, *, length: int = 4, batch: int = 1, start: str = "", **attributes: Any
) -> onnx.ModelProto:
    """One recurrent node; the first states are absent (``""``), ``constant`` or an ``input``."""
    random = np.random.default_rng(11)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    wide = GATES[operator] * HIDDEN
    tensors = {
        "w": random.normal(size=(directions, wide, INPUT)),
        "r": random.normal(size=(directions, wide, HIDDEN)),
        "b": random.normal(size=(directions, 2 * wide)),
    }
    states = ["h", "c"][: 2 if operator == "LSTM" else 1]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [length, batch, INPUT])]
    shape = [directions, batch, HIDDEN]
    if start == "constant":
        tensors |= {name: random.normal(size=shape) for name in states}
    elif start == "input":
        inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in states]
    outputs = {"y": [length, *shape], "y_h": shape} | ({"y_c": shape} if operator == "LSTM" else {})
    node = helper.make_node(
        operator,
        ["x", "w", "r", "b", *(["", *states] if start else [])],
        list(outputs),
        hidden_size=HIDDEN,
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "g",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in outputs.items()],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def _assert_same(model: onnx.ModelProto, plain: onnx.ModelProto) -> None:
    random = np.random.default_rng(5)
    feed = {
        value.name: random.normal(size=[dim.dim_value for dim in value.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for value in model.graph.input
    }
    first, second = (
        onnxruntime.InferenceSession(item.SerializeToString()).run(None, feed) for item in (model, plain)
    )
    for one, two in zip(first, second, strict=True):
        assert one.shape == two.shape
        np.testing.assert_allclose(two, one, atol=1e-5)


CASES: list[dict[str, Any]] = [
    {},
    {"length": 1},
    {"batch": 2},
    {"direction": "reverse"},
    {"direction": "bidirectional"},
    {"direction": "bidirectional", "start": "input", "batch": 2},
    {"start": "constant"},
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_steps_compute_what_the_node_does(operator: str, case: dict[str, Any]) -> None:
    """All outputs agree: every state, the last one, and an LSTM's cell."""
    model = _model(operator, **case)
    plain = recurrent.apply(model)
    assert operator not in {node.op_type for node in plain.graph.node}
    onnx.checker.check_model(plain, full_check=True)
    _assert_same(model, plain)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("GRU", {"linear_before_reset": 1}),
        ("RNN", {"activations": ["Relu"]}),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Tanh"]}),
    ],
)
@pytest.mark.parametrize("start", ["", "constant"])
def test_what_exporters_write_is_unrolled(operator: str, attributes: dict[str, Any], start: str) -> None:
    """Torch's GRU resets after the product, and its RNN may use ReLU."""
    model = _model(operator, start=start, **attributes)
    plain = recurrent.apply(model)
    assert operator not in {node.op_type for node in plain.graph.node}
    _assert_same(model, plain)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("LSTM", {"clip": 1.0}),
        ("LSTM", {"input_forget": 1}),
        ("GRU", {"activations": ["HardSigmoid", "Tanh"]}),
        ("RNN", {"length": recurrent.MOST_STEPS + 1}),
    ],
)
def test_unusual_nodes_are_left_alone(operator: str, attributes: dict[str, Any]) -> None:
    """What the rule does not know stays as it is, the same object."""
    model = _model(operator, **attributes)
    assert recurrent.apply(model) is model


def test_the_rule_is_idempotent_and_deterministic() -> None:
    """A second application finds nothing; the same model gives the same bytes."""
    model = _model("LSTM")
    first, second = recurrent.apply(model), recurrent.apply(model)
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert recurrent.apply(first) is first
