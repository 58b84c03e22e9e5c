"""What the products of an attention layer, and the curves after one, are rewritten to."""

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
RANDOM = np.random.default_rng(19)


def _normal(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


def _scores(build: Any, operator: str, factor: Any, *, turned: bool = False) -> onnx.ModelProto:
    """Queries and keys of two heads from x, multiplied, times a factor."""
    nodes = [
        helper.make_node("MatMul", ["x", "q"], ["p"]),
        helper.make_node("Reshape", ["p", "heads"], ["r"]),
        helper.make_node("Transpose", ["r"], ["left"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["x", "k"], ["o"]),
        helper.make_node("Reshape", ["o", "heads"], ["u"]),
        helper.make_node("Transpose", ["u"], ["right"], perm=[1, 2, 0]),
        helper.make_node("MatMul", ["left", "right"], ["s"]),
        helper.make_node(operator, ["factor", "s"] if turned else ["s", "factor"], ["y"]),
    ]
    constants = {"q": _normal(6, 4), "k": _normal(6, 4), "heads": np.array([3, 2, 2]), "factor": factor}
    model: onnx.ModelProto = build([3, 6], nodes, constants)
    return model


@pytest.mark.parametrize(
    ("operator", "turned"), [("Mul", False), ("Mul", True), ("Div", False)], ids=["mul", "turned", "div"]
)
def test_the_factor_of_scores_ends_up_in_the_queries(
    operator: str, turned: bool, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """Through Reshape and Transpose, as far as the product that made them."""
    model = _scores(build, operator, np.array(0.35, np.float32), turned=turned)
    assert operators(rewritten(model, "early-factor"))["Mul"] == 1
    after = operators(rewritten(model, "early-factor", "linear-chain"))
    assert (after["MatMul"], after["Mul"], after["Div"]) == (3, 0, 0)


def test_a_factor_of_each_score_stays(build: Any, rewritten: Rewritten) -> None:
    """A mask is no number."""
    model = _scores(build, "Mul", _normal(3, 3))
    assert rewritten(model, "early-factor") is model


def test_scores_divided_by_themselves_are_not_moved(build: Any, rewritten: Rewritten) -> None:
    """A constant divided by the scores is not a factor."""
    model = _scores(build, "Div", np.array(0.35, np.float32), turned=True)
    assert rewritten(model, "early-factor") is model


@pytest.mark.parametrize("shape", [[2, 3, 4], [1, 2, 3, 4], [2, 2, 3, 4]])
def test_a_batch_of_products_becomes_one_for_each(
    shape: list[int], build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """As many as the batch has, each of two matrices."""
    order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=order),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    after = rewritten(build(shape, nodes, {}), "split-products")
    assert operators(after)["MatMul"] == int(np.prod(shape[:-2]))


@pytest.mark.parametrize("shape", [[1, 3, 4], [3, 4], [65, 2, 2]], ids=["one", "two axes", "many"])
def test_other_products_of_two_tensors_stay(shape: list[int], build: Any, rewritten: Rewritten) -> None:
    """A batch of one, none, and one that would make a graph too large."""
    order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=order),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    model = build(shape, nodes, {})
    assert rewritten(model, "split-products") is model


def _branches(build: Any, rows: int, *, output: bool = False) -> onnx.ModelProto:
    """Factors and terms before three products, a term and a factor after two of them; then a sum of all."""
    nodes = [
        helper.make_node("Mul", ["x", "g"], ["f"]),
        helper.make_node("Add", ["f", "b"], ["s"]),
        *(helper.make_node("MatMul", ["s", f"w{index}"], [f"p{index}"]) for index in range(3)),
        helper.make_node("Add", ["c", "p1"], ["q1"]),
        helper.make_node("Mul", ["q1", "d"], ["r1"]),
        helper.make_node("Add", ["p2", "c"], ["q2"]),
        helper.make_node("Add", ["p0", "r1"], ["t"]),
        helper.make_node("Add", ["t", "q2"], ["u"]),
        helper.make_node("Add", ["u", "s"] if output else ["u", "u"], ["y"]),
    ]
    constants = {f"w{index}": _normal(4, 4) for index in range(3)}
    constants |= {"g": _normal(4), "b": _normal(4), "c": _normal(4), "d": _normal(1)}
    model: onnx.ModelProto = build([rows, 4], nodes, constants)
    return model


def test_products_take_what_stands_before_all_of_them(
    build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """The factors go into three matrices, the terms into three terms."""
    after = operators(rewritten(_branches(build, 3), "shared-affine"))
    assert (after["Mul"], after["Add"]) == (1, 2 + 3 + 3)


def test_what_others_see_stays_before_the_products(build: Any, rewritten: Rewritten) -> None:
    """It is computed anyway then."""
    model = _branches(build, 3, output=True)
    assert rewritten(model, "shared-affine") is model


def test_products_of_one_tensor_are_merged_with_what_follows_them(
    build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """One product and one sum, and a Gather for each; also after the factors before them were taken."""
    after = operators(rewritten(_branches(build, 3), "shared-affine", "merge-products"))
    assert (after["MatMul"], after["Mul"], after["Gather"]) == (1, 0, 3)


def test_products_of_one_row_are_not_merged(build: Any, rewritten: Rewritten) -> None:
    """Nothing is won where no argument goes over the rows."""
    model = _branches(build, 1)
    assert rewritten(model, "merge-products") is model


@pytest.mark.parametrize("curve", ["Erf", "Tanh", "Sigmoid"])
@pytest.mark.parametrize("operator", ["Mul", "Div"])
def test_a_curve_and_its_factor_share_one_argument(
    curve: str, operator: str, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """Both factors then go into the products before and after."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"]),
        helper.make_node(operator, ["p", "c"], ["s"]),
        helper.make_node(curve, ["s"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["f"]),
        helper.make_node("Mul", ["p", "f"], ["g"]),
        helper.make_node("MatMul", ["g", "b"], ["y"]),
    ]
    constants = {"a": _normal(4, 5), "b": _normal(5, 3), "c": np.float32(1.41), "one": np.float32(1)}
    model = build([2, 4], nodes, {name: np.asarray(value) for name, value in constants.items()})
    after = operators(rewritten(model, "curve-factor", "linear-chain"))
    assert after == Counter({"MatMul": 2, "Add": 1, "Mul": 1, curve: 1})


def test_an_argument_that_a_third_node_takes_stays(build: Any, rewritten: Rewritten) -> None:
    """It must be there as it was."""
    nodes = [
        helper.make_node("Mul", ["x", "c"], ["s"]),
        helper.make_node("Erf", ["s"], ["e"]),
        helper.make_node("Mul", ["x", "e"], ["g"]),
        helper.make_node("Add", ["g", "x"], ["y"]),
    ]
    model = build([2, 4], nodes, {"c": np.array(0.7, np.float32)})
    assert rewritten(model, "curve-factor") is model
