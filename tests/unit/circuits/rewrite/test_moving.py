"""What only moves numbers is merged, and maxima are taken before curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

Rewritten = Callable[..., onnx.ModelProto]
Operators = Callable[[onnx.ModelProto], Counter[str]]
MOVES: dict[str, tuple[onnx.NodeProto, dict[str, Any]]] = {
    "turn": (helper.make_node("Transpose", ["i"], ["o"], perm=[1, 0]), {}),
    "flat": (helper.make_node("Flatten", ["i"], ["o"], axis=0), {}),
    "reshape": (helper.make_node("Reshape", ["i", "s"], ["o"]), {"s": np.array([1, -1])}),
    "pick": (helper.make_node("Gather", ["i", "p"], ["o"], axis=1), {"p": np.array([-1, 0])}),
    "slice": (
        helper.make_node("Slice", ["i", "b", "e", "a"], ["o"]),
        {"b": np.array([0]), "e": np.array([2]), "a": np.array([1])},
    ),
    "fill": (helper.make_node("Concat", ["i", "z", "i"], ["o"], axis=0), {}),
    "pad": (helper.make_node("Pad", ["i", "w"], ["o"]), {"w": np.array([0, 1, 1, 0])}),
    "same": (helper.make_node("Identity", ["i"], ["o"]), {}),
    "repeat": (helper.make_node("Tile", ["i", "n"], ["o"]), {"n": np.array([1, 2])}),
}


def _chain(build: Any, names: list[str], shape: list[int]) -> onnx.ModelProto:
    nodes, constants = [helper.make_node("Relu", ["x"], ["t0"])], dict[str, Any]()
    value = np.zeros(shape)
    for step, name in enumerate(names):
        move, needed = MOVES[name]
        node = onnx.NodeProto()
        node.CopyFrom(move)
        if name == "fill":
            needed = {"z": np.full((1, value.shape[1]), 0.5, dtype=np.float32)}
        for position, given_name in enumerate(move.input):
            node.input[position] = f"t{step}" if given_name == "i" else f"{given_name}{step}"
        node.output[0] = f"t{step + 1}"
        nodes.append(node)
        constants |= {f"{key}{step}": item for key, item in needed.items()}
        probe = build([*shape], [*nodes, helper.make_node("Identity", [f"t{step + 1}"], ["y"])], constants)
        value = np.zeros([dim.dim_value for dim in probe.graph.output[0].type.tensor_type.shape.dim])
    nodes.append(helper.make_node("Tanh", [f"t{len(names)}"], ["y"]))
    model: onnx.ModelProto = build(shape, nodes, constants)
    return model


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_chain_becomes_one_gather(data: st.DataObject, build: Any, rewritten: Rewritten) -> None:
    """Whatever moves, fills in and repeats, at most a Reshape, a Concat of constants and a Gather remain."""
    names = data.draw(st.lists(st.sampled_from(sorted(MOVES)), min_size=1, max_size=6))
    model = _chain(build, names, [2, data.draw(st.integers(1, 2)) * 2])
    after = rewritten(model, "merge-gathers", tolerance=0.0)
    assert len(after.graph.node) <= min(len(model.graph.node), 5)


def test_moves_that_undo_each_other_vanish(build: Any, rewritten: Rewritten, operators: Operators) -> None:
    """Two transpositions leave nothing, and where the result is an output, a node that only renames."""
    turns = [helper.make_node("Transpose", [a], [b], perm=[1, 0]) for a, b in ("xt", "tu")]
    end = helper.make_node("Relu", ["u"], ["y"])
    assert operators(rewritten(build([2, 3], [*turns, end], {}), "merge-gathers")) == {"Relu": 1}
    turns[1].output[0] = "y"
    assert operators(rewritten(build([2, 3], turns, {}), "merge-gathers")) == {"Identity": 1}


def test_a_single_move_stays(build: Any, rewritten: Rewritten) -> None:
    """One Transpose is not replaced by a Reshape and a Gather."""
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), helper.make_node("Relu", ["t"], ["y"])]
    model = build([2, 3], nodes, {})
    assert rewritten(model, "merge-gathers") is model


def test_a_lookup_by_a_computed_index_stays(build: Any, rewritten: Rewritten) -> None:
    """Where the input decides what is picked, nothing is static."""
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "i"], ["t"]),
        helper.make_node("Flatten", ["t"], ["y"]),
    ]
    model = build([2, 3], nodes, {"table": np.ones((4, 2), dtype=np.float32)})
    assert rewritten(model, "merge-gathers") is model


@pytest.mark.parametrize("kind", ["Relu", "Sigmoid", "Tanh"])
def test_the_maximum_is_taken_first(kind: str, build: Any, rewritten: Rewritten) -> None:
    """A rising curve is applied to a quarter of the elements, through several pools and with padding."""
    pool = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 0, 0]}
    nodes = [
        helper.make_node(kind, ["x"], ["t"]),
        helper.make_node("MaxPool", ["t"], ["u"], kernel_shape=[2, 2]),
        helper.make_node("MaxPool", ["u"], ["y"], **pool),  # type: ignore[arg-type]  # attributes are of any type
    ]
    after = rewritten(build([1, 2, 5, 5], nodes, {}), "pool-before-relu")
    assert [node.op_type for node in after.graph.node] == ["MaxPool", "MaxPool", kind]


def test_a_curve_that_others_need_stays(build: Any, rewritten: Rewritten) -> None:
    """The rule does not apply a curve twice, nor move one that falls."""
    twice = [
        helper.make_node("Relu", ["x"], ["t"]),
        helper.make_node("MaxPool", ["t"], ["u"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["t", "u"], ["y"]),
    ]
    falls = [
        helper.make_node("Neg", ["x"], ["t"]),
        helper.make_node("MaxPool", ["t"], ["y"], kernel_shape=[2, 2]),
    ]
    for nodes in (twice, falls):
        model = build([1, 2, 4, 4], nodes, {})
        assert rewritten(model, "pool-before-relu") is model
