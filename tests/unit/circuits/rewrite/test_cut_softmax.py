"""A head that a client can compute is cut off on request."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from verinfer.circuits.rewrite.rules import RULES, replay


def _headed(build: Any, *heads: str) -> onnx.ModelProto:
    names = ["t", *(f"h{index}" for index in range(len(heads) - 1)), "y"]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["t"])]
    nodes += [helper.make_node(kind, [names[i]], [names[i + 1]]) for i, kind in enumerate(heads)]
    model: onnx.ModelProto = build([1, 3], nodes, {"w": np.eye(3, 4, dtype=np.float32)})
    return model


@pytest.mark.parametrize("heads", [["Softmax"], ["LogSoftmax"], ["ArgMax"], ["Softmax", "ArgMax"]])
def test_the_head_is_cut_off(heads: list[str], build: Any) -> None:
    """The output keeps its name and becomes what the head would have taken, with its shape and type."""
    cut = replay(_headed(build, *heads), ["cut-softmax"])
    onnx.checker.check_model(cut, full_check=True)
    assert [node.op_type for node in cut.graph.node] == ["MatMul"]
    output = cut.graph.output[0]
    assert output.name == "y"
    assert output.type.tensor_type.elem_type == TensorProto.FLOAT
    assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [1, 4]
    assert replay(cut, ["cut-softmax"]) is cut


def test_a_softmax_inside_stays(build: Any) -> None:
    """Only the last node is a head."""
    model = _headed(build, "Softmax", "Relu")
    assert replay(model, ["cut-softmax"]) is model


def test_nobody_cuts_unasked() -> None:
    """The rule is not among those that the compiler tries by itself."""
    assert "cut-softmax" not in {rule.name for rule in RULES}
