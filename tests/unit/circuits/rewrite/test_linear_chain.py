"""Linear steps that follow each other become one, where that is cheaper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from verinfer.circuits.rewrite.rules import replay

Rewritten = Callable[..., onnx.ModelProto]
Operators = Callable[[onnx.ModelProto], Counter[str]]
RANDOM = np.random.default_rng(13)


def _normal(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


def _chain(build: Any, shape: list[int], steps: list[tuple[str, Any]]) -> onnx.ModelProto:
    names = ["x", *(f"t{index}" for index in range(len(steps) - 1)), "y"]
    nodes = [
        helper.make_node(kind, [names[index], f"c{index}"], [names[index + 1]])
        for index, (kind, _) in enumerate(steps)
    ]
    model: onnx.ModelProto = build(
        shape,
        nodes,
        {f"c{index}": np.asarray(value, dtype=np.float32) for index, (_, value) in enumerate(steps)},
    )
    return model


@pytest.mark.parametrize("shape", [[1, 4], [3, 4], [2, 3, 4], [4]])
def test_factors_and_terms_go_into_the_product(
    shape: list[int], build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """Whatever stands before and after a product, one product and one sum remain."""
    steps = [
        ("Div", _normal(4)),
        ("MatMul", _normal(4, 5)),
        ("Add", _normal(5)),
        ("Mul", np.float32(0.5)),
        ("Sub", _normal(5)),
        ("Mul", _normal(1)),
    ]
    assert operators(rewritten(_chain(build, shape, steps), "linear-chain")) == {"MatMul": 1, "Add": 1}


@pytest.mark.parametrize(("middle", "products"), [(8, 1), (1, 2)])
def test_two_products_are_merged_if_that_makes_fewer_weights(
    middle: int, products: int, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """A bottleneck is kept."""
    steps = [("MatMul", _normal(6, middle)), ("Add", _normal(middle)), ("MatMul", _normal(middle, 6))]
    after = operators(rewritten(_chain(build, [2, 6], steps), "linear-chain"))
    assert after["MatMul"] == products


@pytest.mark.parametrize(
    "value", [_normal(3, 1), _normal(3, 4), _normal(1, 3, 4)], ids=["rows", "elements", "more-dimensions"]
)
def test_what_differs_from_row_to_row_stays(value: Any, build: Any, rewritten: Rewritten) -> None:
    """A constant that is not along the last axis is no factor per column."""
    model = _chain(build, [3, 4], [("Mul", value), ("MatMul", _normal(4, 4))])
    assert rewritten(model, "linear-chain") is model


def test_a_division_by_zero_stays(build: Any) -> None:
    """What has no reciprocal is not made a factor."""
    model = _chain(build, [1, 2], [("MatMul", _normal(2, 2)), ("Div", [1.0, 0.0])])
    assert replay(model, ["linear-chain"]) is model
