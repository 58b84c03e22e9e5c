"""The axis of samples is followed by what operators mean: whatever could let samples meet, or is not known, has none.

Each case stands alone here; `batch` compares with ONNX's own inference besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from verinfer.circuits.rewrite import batch as batching
from verinfer.circuits.rewrite.batch import batch
from verinfer.circuits.rewrite.graph import Graph
from verinfer.circuits.rewrite.sample_axis import sample_axes

from .conftest import Build

Case = tuple[Sequence[int], list[onnx.NodeProto], dict[str, Any]]


def _node(kind: str, *inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [output], **attributes)


def _ints(*values: int) -> Any:
    return np.array(values, np.int64)


def _floats(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


_TURN = _node("Transpose", "last", perm=[1, 0, 2])
"""Where a last state would have its samples, if it had them: a case must not be refused for its output alone."""

_LSTM = {"w": _floats(1, 8, 4), "r": _floats(1, 8, 2)}
REFUSED: dict[str, Case] = {
    "a constant with rows": ((1, 4), [_node("Add", "x", "w")], {"w": _floats(3, 4)}),
    "two axes at once": (
        (1, 1, 4),
        [
            _node("Transpose", "x", output="t", perm=[1, 0, 2]),
            _node("Add", "x", "t", output="last"),
            _TURN,
        ],
        {},
    ),
    "samples joined": ((1, 4), [_node("Concat", "x", "x", axis=0)], {}),
    "samples joined, counted from the end": ((1, 4), [_node("Concat", "x", "x", axis=-2)], {}),
    "a sample joined to a constant": ((1, 4), [_node("Concat", "x", "w", axis=1)], {"w": _floats(1, 4)}),
    "a product over samples": (
        (1, 4),
        [
            _node("Transpose", "x", output="t"),
            _node("MatMul", "t", "w", output="p"),
            _node("Transpose", "p"),
        ],
        {"w": _floats(1, 4)},
    ),
    "a product of samples": ((1, 1), [_node("MatMul", "x", "x")], {}),
    "a constant times samples": ((1, 4), [_node("MatMul", "w", "x")], {"w": _floats(1, 1)}),
    "a Gemm over samples": ((1, 1), [_node("Gemm", "x", "w", transA=1)], {"w": _floats(1, 4)}),
    "a Gemm whose term has rows": ((1, 4), [_node("Gemm", "x", "w", "b")], {"w": _floats(4, 4), "b": _floats(3, 4)}),
    "a normalisation that says its means": (
        (1, 2, 4),
        [helper.make_node("LayerNormalization", ["x", "w"], ["y", "mean"], axis=-1)],
        {"w": _floats(4)},
    ),
    "some of the samples": ((1, 4), [_node("Slice", "x", "zero", "one", "zero")], {"zero": _ints(0), "one": _ints(1)}),
    "some of the samples, counted from the end": (
        (1, 4),
        [_node("Slice", "x", "zero", "one", "back")],
        {"zero": _ints(0), "one": _ints(1), "back": _ints(-2)},
    ),
    "one sample": ((1, 4), [_node("Gather", "x", "zero", axis=0)], {"zero": _ints(0)}),
    "normalised over samples": ((1, 4), [_node("LayerNormalization", "x", "w", axis=0)], {"w": _floats(1, 4)}),
    "a softmax over samples": ((1, 4), [_node("Softmax", "x", axis=0)], {}),
    "a sum over samples": ((1, 4), [_node("ReduceSum", "x", "zero")], {"zero": _ints(0)}),
    "a sum over everything": ((1, 4), [_node("ReduceSum", "x")], {}),
    "an axis named twice": ((1, 1, 4), [_node("ReduceSum", "x", "twice", keepdims=0)], {"twice": _ints(1, -2)}),
    "samples where channels belong": (
        (1, 1, 4, 4),
        [_node("Transpose", "x", output="t", perm=[1, 0, 2, 3]), _node("MaxPool", "t", kernel_shape=[2, 2])],
        {},
    ),
    "places of maxima, which count from the first sample": (
        (1, 1, 4, 4),
        [helper.make_node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2, 2])],
        {},
    ),
    "a list of all samples": ((1, 4), [_node("Flatten", "x", axis=0)], {}),
    "rows over samples": ((1, 4), [_node("Reshape", "x", "s")], {"s": _ints(2, 2)}),
    "an axis that could be another": (
        (1, 4),
        [_node("Transpose", "x", output="t"), _node("Reshape", "t", "s")],
        {"s": _ints(4, 1, 1)},
    ),
    "an output with samples elsewhere": ((1, 1, 4), [_node("Transpose", "x", perm=[1, 0, 2])], {}),
    "a recurrent node with samples as steps": (
        (1, 3, 4),
        [helper.make_node("LSTM", ["x", "w", "r"], ["", "last"], hidden_size=2), _TURN],
        _LSTM,
    ),
    "a recurrent node whose first state alone varies": (
        (1, 1, 2),
        [_node("Transpose", "x", output="h", perm=[1, 0, 2]),
         helper.make_node("LSTM", ["fixed", "w", "r", "", "", "h"], ["", "last"], hidden_size=2), _TURN],
        {**_LSTM, "fixed": _floats(3, 1, 4)},
    ),
    "a recurrent node with lengths": (
        (1, 3, 4),
        [_node("Transpose", "x", output="t", perm=[1, 0, 2]),
         helper.make_node("LSTM", ["t", "w", "r", "", "n"], ["", "last"], hidden_size=2), _TURN],
        {**_LSTM, "n": np.array([2], np.int32)},
    ),
    "a recurrent node whose first state is worked out": (
        (1, 3, 4),
        [_node("Transpose", "x", output="t", perm=[1, 0, 2]), _node("Neg", "c", output="h"),
         helper.make_node("LSTM", ["t", "w", "r", "", "", "h"], ["", "last"], hidden_size=2), _TURN],
        {**_LSTM, "c": _floats(1, 1, 2)},
    ),
    "a recurrent node whose weights are the sample": (
        (1, 1, 4),
        [_node("Transpose", "x", output="t", perm=[1, 0, 2]),
         helper.make_node("RNN", ["t", "t", "r"], ["", "last"], hidden_size=1), _TURN],
        {"r": _floats(1, 1, 1)},
    ),
    "a recurrent node with samples first": (
        (1, 3, 4),
        [helper.make_node("LSTM", ["x", "w", "r"], ["", "last"], hidden_size=2, layout=1), _TURN],
        _LSTM,
    ),
    "a node that is not known here": ((1, 4), [_node("Trilu", "x")], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_let_samples_meet_has_no_axis(case: str, build: Build) -> None:
    """Without a word of ONNX's inference about many samples."""
    assert sample_axes(Graph(build(*REFUSED[case])), ["x"], ["y"]) is None


def test_a_false_axis_is_found_out(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the axis were followed wrongly, ONNX's inference with many samples would not agree, and the network is repeated."""
    monkeypatch.setattr(
        batching, "sample_axes", lambda _, inputs, outputs: dict.fromkeys([*inputs, *outputs, "t"], 0)
    )
    nodes = [_node("Transpose", "x", output="t", perm=[1, 0, 2]), _node("Transpose", "t", perm=[1, 0, 2])]
    made = batch(build((1, 2, 4), nodes, {}), 3, 1000)
    assert any(tensor.name.startswith("sample.") for tensor in made.graph.initializer)


def test_numbers_of_a_table_are_taken_by_each_sample(build: Build) -> None:
    """An embedding: the table is the same for all samples, and the places are each sample's own."""
    nodes = [_node("Cast", "x", output="i", to=TensorProto.INT64), _node("Gather", "w", "i", output="t"),
             _node("ReduceSum", "t", "two", keepdims=0)]  # fmt: skip
    model = build((1, 4), nodes, {"w": _floats(8, 3), "two": _ints(1)})
    assert sample_axes(Graph(model), ["x"], ["y"]) == {"x": 0, "i": 0, "t": 0, "y": 0}
    wrong = [nodes[0], _node("Gather", "w", "i", axis=1)]
    assert sample_axes(Graph(build((1, 4), wrong, {"w": _floats(8, 3)})), ["x"], ["y"]) is None
