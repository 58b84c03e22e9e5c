"""Constant folding: what it computes, what it removes, what it leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

Rewritten = Callable[..., onnx.ModelProto]
Operators = Callable[[onnx.ModelProto], Counter[str]]


def test_shapes_computed_at_run_time_are_folded(
    build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """The way exporters write a flatten, Shape, Gather, Unsqueeze, Concat, Reshape, leaves one Reshape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "minus"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {
        "zero": np.array(0, dtype=np.int64),
        "axes": np.array([0], dtype=np.int64),
        "minus": np.array([-1], dtype=np.int64),
    }
    after = rewritten(build([2, 3, 4], nodes, constants), "fold")
    assert operators(after) == {"Reshape": 1}
    assert len(after.graph.initializer) == 1


def test_what_depends_on_constants_only_is_computed(
    build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """Arithmetic, casts and `Constant` nodes become initializers."""
    nodes = [
        helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2.0, 3.0]),
        helper.make_node("Cast", ["k"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["c", "f"], ["m"]),
        helper.make_node("Exp", ["m"], ["e"]),
        helper.make_node("Add", ["x", "e"], ["y"]),
    ]
    after = rewritten(build([1, 3], nodes, {"k": np.array([1, 0, -1], dtype=np.int64)}), "fold")
    assert operators(after) == {"Add": 1}


def test_nodes_that_do_nothing_or_repeat_another_go(
    build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """Identity, a cast to the same type, a transposition into the same order, dead nodes, and a second equal node."""
    nodes = [
        helper.make_node("Identity", ["x"], ["i"]),
        helper.make_node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["c"], ["t"], perm=[0, 1]),
        helper.make_node("Relu", ["t"], ["r1"]),
        helper.make_node("Relu", ["x"], ["r2"]),
        helper.make_node("Sigmoid", ["x"], ["dead"]),
        helper.make_node("Add", ["r1", "r2"], ["y"]),
    ]
    assert operators(rewritten(build([1, 3], nodes, {}), "fold")) == {"Relu": 1, "Add": 1}


def test_a_large_constant_is_not_made(build: Any, rewritten: Rewritten) -> None:
    """A file of a few bytes does not grow to megabytes: what would be large stays a node."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    model = build([1, 3], nodes, {"s": np.array([(1 << 20) + 1], dtype=np.int64)})
    assert rewritten(model, "fold") is model


def test_a_constant_that_is_not_finite_is_not_made(build: Any, rewritten: Rewritten) -> None:
    """An infinity stays where it is computed, for the refusals of the importer to see."""
    nodes = [helper.make_node("Div", ["one", "zero"], ["inf"]), helper.make_node("Min", ["x", "inf"], ["y"])]
    model = build(
        [1, 1], nodes, {"one": np.array([1], dtype=np.float32), "zero": np.array([0], dtype=np.float32)}
    )
    assert rewritten(model, "fold") is model


def test_a_claimed_shape_folds_nothing(build: Any, rewritten: Rewritten) -> None:
    """A Reshape that "changes nothing" only by the file's own word stays."""
    nodes = [
        helper.make_node("Div", ["f1", "f0"], ["inf"]),
        helper.make_node("Min", ["inf", "f3"], ["three"]),
        helper.make_node("Cast", ["three"], ["end"], to=TensorProto.INT64),
        helper.make_node("Slice", ["w", "zero", "end", "zero"], ["f"]),
        helper.make_node("Reshape", ["f", "flat"], ["g"]),
        helper.make_node("ReduceSum", ["g", "one"], ["h"]),
        helper.make_node("Add", ["x", "h"], ["y"]),
    ]
    constants = {
        **{f"f{value}": np.array([value], np.float32) for value in (0, 1, 3)},
        **{
            name: np.array(value, np.int64)
            for name, value in (("zero", [0]), ("one", [1]), ("flat", [1, -1]))
        },
        "w": np.arange(12, dtype=np.float32).reshape(3, 4),
    }
    model = build([1, 4], nodes, constants)
    claims = [("f", (1, 4)), ("g", (1, 4))]
    model.graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in claims
    )
    rewritten(model, "fold")
