"""Average pooling becomes Gathers and Adds, and its factor goes into the next weights."""

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
RANDOM = np.random.default_rng(5)


def _normal(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_average_pool_becomes_sums(
    data: st.DataObject, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """1-D and 2-D, batch, strides, padding counted or not, windows that reach beyond the end."""
    axes = data.draw(st.integers(1, 2))
    sizes = st.lists(st.integers(1, 3), min_size=axes, max_size=axes)
    kernel, strides, extra = data.draw(sizes), data.draw(sizes), data.draw(sizes)
    pads = [data.draw(st.integers(0, size - 1)) for size in kernel * 2]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    attributes["count_include_pad"], attributes["ceil_mode"] = (
        data.draw(st.integers(0, 1)) for _ in range(2)
    )
    spatial = [size + more for size, more in zip(kernel, extra, strict=True)]
    node = helper.make_node("AveragePool", ["x"], ["y"], **attributes)
    model = build([data.draw(st.integers(1, 2)), 2, *spatial], [node], {})
    after = operators(rewritten(model, "average-pool"))
    assert after["AveragePool"] == 0 or attributes["ceil_mode"]


@pytest.mark.parametrize(("kernel", "stride", "left"), [(3, 2, 0), (2, 3, 1)])
def test_windows_that_reach_beyond_the_end(
    kernel: int, stride: int, left: int, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """`ceil_mode` is kept; where onnx and onnxruntime disagree about the number of windows, the node stays."""
    attributes: dict[str, Any] = {"kernel_shape": [kernel], "strides": [stride], "ceil_mode": 1}
    model = build([1, 1, 6], [helper.make_node("AveragePool", ["x"], ["y"], **attributes)], {})
    assert operators(rewritten(model, "average-pool"))["AveragePool"] == left


@pytest.mark.parametrize("spatial", [[5], [3, 4]])
def test_a_global_average_pool_becomes_sums(
    spatial: list[int], build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """The mean of each channel."""
    model = build([2, 3, *spatial], [helper.make_node("GlobalAveragePool", ["x"], ["y"])], {})
    assert operators(rewritten(model, "global-average-pool"))["GlobalAveragePool"] == 0


@pytest.mark.parametrize(
    "between", [[], ["Relu"], ["Relu", "Flatten"]], ids=["at-once", "relu", "relu-flatten"]
)
def test_the_factor_goes_into_the_next_weights(
    between: list[str], build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """Nothing multiplies, whatever lies between that a positive factor may pass."""
    names = ["x", *(f"t{index}" for index in range(len(between) + 1))]
    nodes = [helper.make_node("AveragePool", ["x"], ["t0"], kernel_shape=[2, 2], strides=[2, 2])]
    nodes += [
        helper.make_node(kind, [names[index + 1]], [names[index + 2]]) for index, kind in enumerate(between)
    ]
    last = "Gemm" if "Flatten" in between else "Conv"
    weights = _normal(8, 3) if last == "Gemm" else _normal(2, 2, 2, 2)
    nodes.append(helper.make_node(last, [names[-1], "w"], ["y"]))
    model = build([1, 2, 4, 4], nodes, {"w": weights})
    assert operators(rewritten(model, "average-pool"))["Mul"] == 0


@pytest.mark.parametrize("last", ["Sigmoid", "Add"])
def test_the_factor_stops_at_what_is_not_linear(
    last: str, build: Any, rewritten: Rewritten, operators: Operators
) -> None:
    """A Mul remains before a curve and before a bias, and where two layers take the pool's result."""
    pool = helper.make_node("AveragePool", ["x"], ["t"], kernel_shape=[2, 2])
    nodes = [pool, helper.make_node(last, ["t", "b"] if last == "Add" else ["t"], ["u"])]
    nodes.append(helper.make_node("Conv", ["u", "w"], ["y"]))
    constants = {"w": _normal(2, 2, 1, 1)} | ({"b": _normal(1)} if last == "Add" else {})
    assert operators(rewritten(build([1, 2, 4, 4], nodes, constants), "average-pool"))["Mul"] == 1


def test_weights_that_two_layers_share_are_scaled_for_one(build: Any, rewritten: Rewritten) -> None:
    """The layer that does not follow the pool keeps its weights."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"]),
        helper.make_node("AveragePool", ["t"], ["u"], kernel_shape=[2, 2]),
        helper.make_node("Conv", ["u", "w"], ["y"]),
    ]
    rewritten(build([1, 2, 4, 4], nodes, {"w": _normal(2, 2, 1, 1)}), "average-pool")
