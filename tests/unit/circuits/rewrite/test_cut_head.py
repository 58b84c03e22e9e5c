"""A head that a client can compute is cut off on request."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from verinfer.circuits.rewrite.adoption import adopt
from verinfer.circuits.rewrite.cut_head import cut_head


def _headed(build: Any, *heads: str) -> onnx.ModelProto:
    names = ["t", *(f"h{index}" for index in range(len(heads) - 1)), "y"]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["t"])]
    nodes += [helper.make_node(kind, [names[i]], [names[i + 1]]) for i, kind in enumerate(heads)]
    model: onnx.ModelProto = build([1, 3], nodes, {"w": np.eye(3, 4, dtype=np.float32)})
    return model


@pytest.mark.parametrize("heads", [["Softmax"], ["LogSoftmax"], ["ArgMax"], ["Softmax", "ArgMax"]])
def test_the_head_is_cut_off(heads: list[str], build: Any) -> None:
    """The output keeps its name and becomes what the head would have taken, with its shape and type."""
    cut = cut_head(_headed(build, *heads))
    onnx.checker.check_model(cut, full_check=True)
    assert [node.op_type for node in cut.graph.node] == ["MatMul"]
    output = cut.graph.output[0]
    assert output.name == "y"
    assert output.type.tensor_type.elem_type == TensorProto.FLOAT
    assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [1, 4]
    assert cut_head(cut) is cut


def test_a_softmax_inside_stays(build: Any) -> None:
    """Only the last node is a head."""
    model = _headed(build, "Softmax", "Relu")
    assert cut_head(model) is model


def test_nobody_cuts_unasked(build: Any) -> None:
    """Adoption leaves heads where they are unless the owner wants it otherwise, and then says so."""
    model = _headed(build, "Softmax")
    kept, steps = adopt(model)
    assert kept.graph.node[-1].op_type == "Softmax"
    assert "cut-head" not in steps
    cut, steps = adopt(model, without_head=True)
    assert cut.graph.node[-1].op_type == "MatMul"
    assert steps[-1] == "cut-head"
