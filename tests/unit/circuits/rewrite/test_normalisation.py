"""Layer normalisation in plain products, and what of it the layers around it take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

Rewritten = Callable[..., onnx.ModelProto]
Operators = Callable[[onnx.ModelProto], Counter[str]]
RANDOM = np.random.default_rng(17)


def _normal(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_a_normalisation_becomes_products_and_a_power(
    opset: int, bias: bool, epsilon: float, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """With and without a term, whatever is added to the variance, in both forms of a reduction's axes."""
    constants = {"g": _normal(6), **({"b": _normal(6)} if bias else {})}
    node = helper.make_node("LayerNormalization", ["x", *constants], ["y"], epsilon=epsilon)
    after = rewritten(build([2, 3, 6], [node], constants, opset=opset), "layer-normalisation")
    assert operators(after) == Counter(MatMul=1, ReduceSumSquare=1, Add=1 + bias, Pow=1, Mul=2)


@pytest.mark.parametrize(
    ("attributes", "constants", "shape"),
    [
        ({"axis": 1}, {"g": _normal(3, 6)}, [2, 3, 6]),
        ({}, {"g": np.ones(300, np.float32)}, [2, 300]),
        ({}, {"g": np.ones(1, np.float32)}, [2, 1]),
    ],
    ids=["two axes", "a long axis", "one element"],
)
def test_a_normalisation_over_other_axes_stays(
    attributes: dict[str, Any], constants: dict[str, Any], shape: list[int], build: Any, rewritten: Rewritten
) -> None:
    """Several axes, or one whose centring matrix would be large."""
    node = helper.make_node("LayerNormalization", ["x", "g"], ["y"], **attributes)
    model = build(shape, [node], constants)
    assert rewritten(model, "layer-normalisation") is model


def test_computed_factors_stay(build: Any, rewritten: Rewritten) -> None:
    """Only constants go into constants."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["g"], axes=[0], keepdims=0),
        helper.make_node("LayerNormalization", ["x", "g"], ["y"]),
    ]
    model = build([2, 6], nodes, {})
    assert rewritten(model, "layer-normalisation") is model


def _shortcut(build: Any, *, seen: bool) -> onnx.ModelProto:
    """x·a + c and a layer of its normal form, added; `seen`: the first sum is used by something else too."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"]),
        helper.make_node("Add", ["p", "c"], ["s"]),
        helper.make_node("LayerNormalization", ["s", "g"], ["n"]),
        helper.make_node("MatMul", ["n", "w"], ["q"]),
        helper.make_node("Add", ["s", "q"], ["t"]),
        helper.make_node("LayerNormalization", ["t", "g"], ["m"]),
        helper.make_node("Mul" if seen else "Identity", ["m", "s"] if seen else ["m"], ["y"]),
    ]
    constants = {"a": _normal(4, 6), "c": _normal(1, 3, 6), "g": _normal(6), "w": _normal(6, 6)}
    model: onnx.ModelProto = build([1, 3, 4], nodes, constants)
    return model


def test_all_that_is_added_to_a_shortcut_is_centred_by_its_own_weights(
    build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """No product is left that only takes a mean away."""
    model = _shortcut(build, seen=False)
    spelled = rewritten(model, "layer-normalisation")
    after = rewritten(model, "layer-normalisation", "centred-sums", "linear-chain")
    assert (operators(spelled)["MatMul"], operators(after)["MatMul"]) == (4, 2)


def test_a_sum_that_others_see_is_not_changed(build: Any, rewritten: Rewritten) -> None:
    """Whoever takes it gets what the network says."""
    spelled = rewritten(_shortcut(build, seen=True), "layer-normalisation")
    assert rewritten(spelled, "centred-sums") is spelled


def test_only_a_projection_can_be_taken_early(build: Any, rewritten: Rewritten) -> None:
    """Any other matrix would be applied twice to what goes round a shortcut."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"]),
        helper.make_node("Add", ["p", "c"], ["s"]),
        helper.make_node("MatMul", ["s", "m"], ["y"]),
    ]
    model = build([3, 6], nodes, {"a": _normal(6, 6), "c": _normal(6), "m": 2 * np.eye(6, dtype=np.float32)})
    assert rewritten(model, "centred-sums") is model


def _mean(axes: list[int], opset: int, keeps: int) -> tuple[onnx.NodeProto, dict[str, Any]]:
    if opset < 18:
        return helper.make_node("ReduceMean", ["s"], ["y"], axes=axes, keepdims=keeps), {}
    return helper.make_node("ReduceMean", ["s", "axes"], ["y"], keepdims=keeps), {"axes": np.array(axes)}


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("axes", [[1], [0, 1], [-2]])
@pytest.mark.parametrize("keeps", [0, 1])
def test_a_mean_comes_before_factors_and_terms(
    opset: int, axes: list[int], keeps: int, build: Any, rewritten: Rewritten
) -> None:
    """There are fewer numbers then; one sum and one factor remain."""
    node, more = _mean(axes, opset, keeps)
    nodes = [helper.make_node("Mul", ["x", "g"], ["f"]), helper.make_node("Add", ["f", "b"], ["s"]), node]
    after = rewritten(
        build([2, 3, 4], nodes, {"g": _normal(4), "b": _normal(4), **more}, opset=opset), "mean"
    )
    assert [node.op_type for node in after.graph.node] == ["ReduceSum", "Mul", "Add"]


@pytest.mark.parametrize("axes", [[2], [1, -1]])
def test_a_mean_over_the_last_axis_stays(axes: list[int], build: Any, rewritten: Rewritten) -> None:
    """What stands along it cannot be taken later."""
    node, _ = _mean(axes, 17, 1)
    model = build([2, 3, 4], [helper.make_node("Mul", ["x", "g"], ["s"]), node], {"g": _normal(4)})
    assert rewritten(model, "mean") is model
