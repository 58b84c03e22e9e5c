"""Batch normalisation goes into the layer before, or becomes a factor and a term."""

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
RANDOM = np.random.default_rng(11)
PARAMETERS = ("scale", "shift", "mean", "variance")


def _normal(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


def _parameters(channels: int) -> dict[str, Any]:
    values = {name: _normal(channels) for name in PARAMETERS}
    return values | {"variance": np.abs(values["variance"]) + np.float32(0.1)}


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_it_goes_into_a_convolution(
    group: int, bias: bool, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """Also with groups, padding, and without a bias before."""
    constants = {"w": _normal(4, 4 // group, 3, 2), **({"b": _normal(4)} if bias else {})}
    nodes = [
        helper.make_node("Conv", ["x", *constants], ["t"], group=group, pads=[1, 0, 1, 1]),
        helper.make_node("BatchNormalization", ["t", *PARAMETERS], ["y"], epsilon=0.01),
    ]
    model = build([2, 4, 5, 4], nodes, constants | _parameters(4))
    assert operators(rewritten(model, "batch-normalisation")) == {"Conv": 1}


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("bias", [None, (5,), (3, 5), (3, 1)])
def test_it_goes_into_gemm(
    turn: int, bias: tuple[int, ...] | None, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """Either orientation, with factors of its own, every shape of bias."""
    constants = {"w": _normal(5, 4) if turn else _normal(4, 5)}
    if bias:
        constants["b"] = _normal(*bias)
    nodes = [
        helper.make_node("Gemm", ["x", *constants], ["t"], transB=turn, alpha=0.5, beta=-2.0),
        helper.make_node("BatchNormalization", ["t", *PARAMETERS], ["y"]),
    ]
    model = build([3, 4], nodes, constants | _parameters(5))
    assert operators(rewritten(model, "batch-normalisation")) == {"Gemm": 1}


@pytest.mark.parametrize("shape", [[2, 3], [1, 3, 4], [1, 3, 4, 2]])
def test_elsewhere_it_becomes_a_factor_and_a_term(
    shape: list[int], build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """Per channel, whatever the number of dimensions."""
    model = build(shape, [helper.make_node("BatchNormalization", ["x", *PARAMETERS], ["y"])], _parameters(3))
    assert operators(rewritten(model, "batch-normalisation")) == {"Mul": 1, "Add": 1}


def test_a_layer_that_others_see_keeps_its_result(
    build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """A convolution with a second consumer is not changed under its feet."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("BatchNormalization", ["t", *PARAMETERS], ["n"]),
        helper.make_node("Add", ["t", "n"], ["y"]),
    ]
    model = build([1, 2, 3, 3], nodes, {"w": _normal(2, 2, 1, 1)} | _parameters(2))
    assert operators(rewritten(model, "batch-normalisation")) == {"Conv": 1, "Mul": 1, "Add": 2}
