"""Convolutions and Gemm become Gathers and MatMuls that compute the same."""

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

from verinfer.circuits.rewrite import graph

Rewritten = Callable[..., onnx.ModelProto]
Operators = Callable[[onnx.ModelProto], Counter[str]]
RANDOM = np.random.default_rng(3)


def _normal(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_convolution_becomes_a_product(
    data: st.DataObject, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """Any 1-D or 2-D convolution: batch, groups, odd sizes, strides, dilations, uneven padding, with or without bias."""
    axes = data.draw(st.integers(1, 2))
    sizes = st.lists(st.integers(1, 3), min_size=axes, max_size=axes)
    batch, groups, per_group, many = (data.draw(st.integers(1, 3)) for _ in range(4))
    kernel, strides, dilations = data.draw(sizes), data.draw(sizes), data.draw(sizes)
    pads = data.draw(st.lists(st.integers(0, 2), min_size=2 * axes, max_size=2 * axes))
    extra = data.draw(sizes)
    spatial = [(size - 1) * step + more for size, step, more in zip(kernel, dilations, extra, strict=True)]
    constants = {"w": _normal(groups * many, per_group, *kernel)}
    if data.draw(st.booleans()):
        constants["b"] = _normal(groups * many)
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "pads": pads, "group": groups}
    node = helper.make_node("Conv", ["x", *constants], ["y"], **attributes)
    model = build([batch, groups * per_group, *spatial], [node], constants)
    after = rewritten(model, "convolution")
    assert operators(after)["Conv"] == 0
    assert operators(after)["MatMul"] == (groups if many > 1 else 1)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("size", "stride"), [(5, 2), (6, 2), (7, 3), (4, 1)])
def test_padding_chosen_by_the_operator(
    mode: str, size: int, stride: int, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """`auto_pad` means the same afterwards, also where the padding is uneven."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=mode, strides=[stride, stride])
    model = build([1, 2, size, size + 1], [node], {"w": _normal(3, 2, 3, 2)})
    assert operators(rewritten(model, "convolution"))["Conv"] == 0


def test_a_convolution_with_computed_weights_stays(build: Any, rewritten: Rewritten) -> None:
    """Weights that depend on the input are nobody's constants."""
    nodes = [helper.make_node("Relu", ["x"], ["w"]), helper.make_node("Conv", ["x", "w"], ["y"])]
    model = build([1, 2, 3, 3], nodes, {})
    assert rewritten(model, "convolution") is model


def test_a_convolution_without_room_stays(
    build: Any, rewritten: Rewritten, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indices never make a model larger than one may be."""
    model = build([1, 1, 3, 3], [helper.make_node("Conv", ["x", "w"], ["y"])], {"w": _normal(1, 1, 2, 2)})
    monkeypatch.setattr(graph, "MOST_NUMBERS", 4 + 16 - 1)
    assert rewritten(model, "convolution") is model


def test_a_convolution_in_three_dimensions_stays(build: Any, rewritten: Rewritten) -> None:
    """The rule speaks of one and two dimensions only."""
    model = build(
        [1, 1, 3, 3, 3], [helper.make_node("Conv", ["x", "w"], ["y"])], {"w": _normal(1, 1, 2, 2, 2)}
    )
    assert rewritten(model, "convolution") is model


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (3, 1), (3, 5), ()])
def test_gemm_becomes_a_product(
    left: int,
    right: int,
    bias: tuple[int, ...] | None,
    build: Any,
    rewritten: Rewritten,
    operators: Operators,
) -> None:
    """Factors and transpositions are in the constants; every shape of bias that the operator allows."""
    constants = {"w": _normal(5, 4) if right else _normal(4, 5)}
    if bias is not None:
        constants["b"] = _normal(*bias).reshape(bias)
    attributes: dict[str, Any] = {"transA": left, "transB": right, "alpha": 0.5, "beta": -2.0}
    node = helper.make_node("Gemm", ["x", *constants], ["y"], **attributes)
    model = build([4, 3] if left else [3, 4], [node], constants)
    after = operators(rewritten(model, "gemm"))
    assert after == Counter(["MatMul", *["Transpose"] * left, *["Add"] * (bias is not None)])


def test_gemm_of_two_computed_matrices(build: Any, rewritten: Rewritten, operators: Operators) -> None:
    """A factor that no constant can take leaves the node alone; without one it is a product of transposed matrices."""
    plain = build([3, 4], [helper.make_node("Gemm", ["x", "x"], ["y"], transB=1)], {})
    assert operators(rewritten(plain, "gemm")) == {"Transpose": 1, "MatMul": 1}
    scaled = build([3, 4], [helper.make_node("Gemm", ["x", "x"], ["y"], transB=1, alpha=0.5)], {})
    assert rewritten(scaled, "gemm") is scaled
