"""A batched network computes each row as the given network does, whatever its nodes do with rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from verinfer.circuits.rewrite.batch import batch
from verinfer.circuits.rewrite.rules import RULES, replay

from .conftest import Build

COUNT, MOST_NODES = 3, 10_000
WEIGHTS = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)


def _run(model: onnx.ModelProto, feed: Mapping[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feed)))


def _feed(model: onnx.ModelProto) -> dict[str, Any]:
    random, feed = np.random.default_rng(7), {}
    for value in model.graph.input:
        shape = [COUNT, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])]
        whole = value.type.tensor_type.elem_type == TensorProto.INT64
        # Rows of very different sizes: what one row does to another must show.
        sizes = np.array([1.0, 100.0, 0.01]).reshape(-1, *[1] * (len(shape) - 1))
        feed[value.name] = (
            random.integers(0, 2, shape) if whole else (random.normal(size=shape) * sizes).astype(np.float32)
        )
    return feed


def _check(model: onnx.ModelProto) -> onnx.ModelProto:
    """The batched model, after each of its rows was compared with the model itself."""
    made = batch(model, COUNT, MOST_NODES)
    onnx.checker.check_model(made, full_check=True)
    feed = _feed(model)
    rows = [_run(model, {name: array[row : row + 1] for name, array in feed.items()}) for row in range(COUNT)]
    for index, found in enumerate(_run(made, feed)):
        wanted = np.concatenate([row[index] for row in rows])
        assert found.shape == wanted.shape
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(np.abs(other).max(), 1e-9))
    return made


def _is_shared(made: onnx.ModelProto) -> bool:
    """Whether all rows go through the same nodes."""
    return not any(tensor.name.startswith("sample.") for tensor in made.graph.initializer)


def test_committed_models_share_their_nodes(zoo: Path) -> None:
    """Every model of the zoo is batched on the same nodes, but for trees, whose tables stand in the place of samples."""
    model = onnx.load(str(zoo))
    made = _check(model)
    assert _is_shared(made) != (zoo.parent.name == "digits_trees")
    feed = _feed(model)
    rewritten = replay(made, [rule.name for rule in RULES])
    for found, wanted in zip(_run(rewritten, feed), _run(made, feed), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def _node(kind: str, *inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, ["x", *inputs], [output], **attributes)


INTS = {name: np.array(values, np.int64) for name, values in {"zero": [0], "one": [1], "minus": [-2]}.items()}
KEEPING: dict[str, tuple[Sequence[int], list[onnx.NodeProto], dict[str, Any]]] = {
    "Gemm": ((1, 4), [_node("Gemm", "w", transB=1)], {"w": WEIGHTS}),
    "MatMul": ((1, 4), [_node("MatMul", "w")], {"w": WEIGHTS}),
    "Add, one for all": ((1, 4), [_node("Add", "w")], {"w": WEIGHTS[0]}),
    "Softmax along the last axis": ((1, 4), [_node("Softmax", axis=-1)], {}),
    "Softmax of all but the first": ((1, 4), [_node("Softmax")], {}),
    "ReduceMax along the last axis": ((1, 4, 4), [_node("ReduceMax", axes=[2])], {}),
    "ReduceSum without keeping": ((1, 4, 4), [_node("ReduceSum", "one", keepdims=0)], INTS),
    "Flatten": ((1, 2, 2), [_node("Flatten")], {}),
    "Reshape to a list": ((1, 2, 2), [_node("Reshape", "s")], {"s": np.array([1, 4], np.int64)}),
    "Reshape by what is left": ((1, 2, 2), [_node("Reshape", "s")], {"s": np.array([-1, 4], np.int64)}),
    "Transpose and back": (
        (1, 2, 4),
        [_node("Transpose", output="t", perm=[1, 0, 2]), helper.make_node("Transpose", ["t"], ["y"], perm=[1, 2, 0])],
        {},
    ),
    "Slice of columns": ((1, 4), [_node("Slice", "zero", "one", "one")], INTS),
    "Gather of columns": ((1, 4), [_node("Gather", "one", axis=1)], INTS),
    "Concat of columns": ((1, 4), [_node("Concat", "x", axis=1)], {}),
    "Gather of rows by each sample's numbers, and back": (
        (1, 4),
        [_node("Cast", output="i", to=TensorProto.INT64), helper.make_node("Clip", ["i", "low", "high"], ["j"]),
         helper.make_node("Gather", ["w", "j"], ["t"]), helper.make_node("ReduceSum", ["t", "two"], ["y"], keepdims=0)],
        {"w": WEIGHTS, "low": np.array(0, np.int64), "high": np.array(3, np.int64), "two": np.array([2], np.int64)},
    ),
    "MatMul of several rows of each sample": ((1, 3, 4), [_node("MatMul", "w")], {"w": WEIGHTS}),
    "Add of a smaller rank": ((1, 3, 4), [_node("Add", "w")], {"w": WEIGHTS[:3]}),
    "Unsqueeze and Squeeze": (
        (1, 4),
        [_node("Unsqueeze", "one", output="t"), helper.make_node("Squeeze", ["t", "one"], ["y"])],
        INTS,
    ),
    "LayerNormalization": ((1, 2, 4), [_node("LayerNormalization", "s", axis=-1)], {"s": WEIGHTS[0]}),
    "itself transposed": (
        (1, 1, 4),
        [_node("Transpose", output="t", perm=[0, 2, 1]), helper.make_node("MatMul", ["t", "x"], ["y"])],
        {},
    ),
}  # fmt: skip
MIXING: dict[str, tuple[Sequence[int], list[onnx.NodeProto], dict[str, Any]]] = {
    "Softmax along rows": ((1, 4), [_node("Softmax", axis=0)], {}),
    "ReduceMax along rows": ((1, 4), [_node("ReduceMax", axes=[0])], {}),
    "ReduceMax of everything": ((1, 4), [_node("ReduceMax")], {}),
    "CumSum along rows": ((1, 4), [_node("CumSum", "k")], {"k": np.array(0, np.int64)}),
    "Reshape over rows": (
        (1, 4),
        [_node("Reshape", "s", output="t"), helper.make_node("ReduceMax", ["t"], ["u"], axes=[0]),
         helper.make_node("Reshape", ["u", "r"], ["y"])],
        {"s": np.array([2, 2], np.int64), "r": np.array([1, 2], np.int64)},
    ),
    "Transpose into a sum": (
        (1, 4),
        [_node("Transpose", output="t"), helper.make_node("ReduceSum", ["t", "one"], ["u"]),
         helper.make_node("Reshape", ["u", "r"], ["y"])],
        {**INTS, "r": np.array([1, 4], np.int64)},
    ),
    "MatMul with itself": (
        (1, 4),
        [_node("Transpose", output="t"), helper.make_node("MatMul", ["x", "t"], ["y"])],
        {},
    ),
    "the last row": (
        (1, 4),
        [_node("Slice", "from", "to", "zero")],
        {**INTS, "from": np.array([-1], np.int64), "to": np.array([1 << 31], np.int64)},
    ),
    "a triangle": ((1, 4), [_node("Trilu")], {}),
    "an operator that is not known here": ((1, 4), [_node("Pad", "p")], {"p": np.array([0, 1, 0, 2], np.int64)}),
}  # fmt: skip


def _sizes(*sizes: int) -> Any:
    return np.array(sizes, np.int64)


TRICKY: dict[str, tuple[Sequence[int], list[onnx.NodeProto], dict[str, Any]]] = {
    "a size of 0 and one of -1 after the axis of samples moved": (
        (1, 6),
        [
            _node("Reshape", "a", output="r"),
            helper.make_node("Transpose", ["r"], ["t"], perm=[1, 0, 2, 3]),
            helper.make_node("Reshape", ["t", "b"], ["u"]),
            helper.make_node("ReduceSum", ["u", "three"], ["s"]),
            helper.make_node("Transpose", ["s"], ["v"], perm=[2, 1, 0, 3]),
            helper.make_node("Flatten", ["v"], ["f"]),
            helper.make_node("Gather", ["x", "two"], ["g"], axis=1),
            helper.make_node("Add", ["f", "g"], ["y"]),
        ],
        {"a": _sizes(1, 2, 1, 3), "b": _sizes(1, 2, 0, -1), "three": _sizes(3), "two": _sizes(0, 1)},
    ),
    "a size of 0 that means another place": (
        (1, 6),
        [
            _node("Reshape", "a", output="r"),
            helper.make_node("Transpose", ["r"], ["t"], perm=[1, 0, 2]),
            helper.make_node("Reshape", ["t", "b"], ["u"]),
            helper.make_node("Transpose", ["u"], ["v"], perm=[3, 0, 1, 2, 4]),
            helper.make_node("Reshape", ["v", "c"], ["y"]),
        ],
        {"a": _sizes(1, 2, 3), "b": _sizes(1, 0, 2, -1, 3), "c": _sizes(1, 6)},
    ),
    "axes that are named twice": (
        (1, 4),
        [
            _node("Unsqueeze", "front", output="t"),
            helper.make_node("ReduceSum", ["t", "twice"], ["u"], keepdims=0),
            helper.make_node("ReduceSum", ["u", "one"], ["v"], keepdims=0),
            helper.make_node("Add", ["x", "v"], ["y"]),
        ],
        {"front": _sizes(0, 1), "twice": _sizes(0, -4), "one": _sizes(1)},
    ),
    "an output and an input that are left out": (
        (1, 4),
        [_node("Trilu", output="t"), helper.make_node("Clip", ["t", "", "high"], ["y"])],
        {"high": np.array(0.1, np.float32), "sample/0/": np.array(-0.4, np.float32), ".0": np.array(0.2, np.float32)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TRICKY)
def test_whatever_a_node_says_each_row_is_the_models(case: str, build: Build) -> None:
    """Shared or repeated, no sample meets another and none gets another function, however the file is written."""
    _check(build(*TRICKY[case]))


def test_a_shape_that_the_file_only_claims_is_not_believed(build: Build) -> None:
    """A tensor whose size cannot be derived is said to have one row and has three: each sample would get another one."""
    nodes = [
        helper.make_node("Div", ["f1", "f0"], ["inf"]),
        helper.make_node("Min", ["inf", "f3"], ["three"]),
        helper.make_node("Cast", ["three"], ["end"], to=TensorProto.INT64),
        helper.make_node("Slice", ["w", "zero", "end", "zero"], ["f"]),
        _node("Add", "f", output="s"),
        helper.make_node("Reshape", ["s", "long"], ["t"]),
        helper.make_node("Slice", ["t", "zero", "four", "one"], ["u"]),
        helper.make_node("Squeeze", ["u", "two"], ["y"]),
    ]
    constants = {
        **{f"f{value}": np.array([value], np.float32) for value in (0, 1, 3)},
        "w": WEIGHTS[:3],
        "zero": _sizes(0),
        "one": _sizes(1),
        "two": _sizes(2),
        "four": _sizes(4),
        "long": _sizes(1, -1, 1),
    }
    model = build((1, 4), nodes, constants)
    model.graph.value_info.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, (1, 4)))
    _check(model)


def test_older_operator_sets_have_their_own_rules(build: Build) -> None:
    """Softmax along all axes from one on, and axes as attributes."""
    old = build((1, 2, 2), [_node("Softmax", axis=0)], {}, opset=11)
    assert not _is_shared(_check(old))
    assert _is_shared(_check(build((1, 2, 2), [_node("Softmax", axis=1)], {}, opset=11)))
    moved = [_node("Unsqueeze", output="t", axes=[1]), helper.make_node("Squeeze", ["t"], ["y"], axes=[1])]
    assert _is_shared(_check(build((1, 2, 2), moved, {}, opset=11)))


def test_an_output_that_no_input_decides_has_no_rows(build: Build) -> None:
    """It is named."""
    nodes = [_node("Relu"), helper.make_node("Relu", ["w"], ["z"])]
    model = build((1, 4), nodes, {"w": WEIGHTS[:1]})
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 4)))
    with pytest.raises(ValueError, match="z depends on no input"):
        batch(model, 2, MOST_NODES)


def test_too_many_nodes_are_refused_before_they_are_made(build: Build) -> None:
    """It is said that a smaller batch may do."""
    with pytest.raises(ValueError, match="take a smaller batch"):
        batch(build((1, 4), [_node("Trilu")], {}), 600, 1000)


@pytest.mark.parametrize("case", KEEPING)
def test_nodes_that_keep_rows_apart_are_shared(case: str, build: Build) -> None:
    """The same nodes on longer tensors."""
    assert _is_shared(_check(build(*KEEPING[case])))


@pytest.mark.parametrize("case", MIXING)
def test_nodes_that_mix_rows_are_repeated(case: str, build: Build) -> None:
    """A node that would look at other rows gets each row alone, however little it would show on usual inputs."""
    assert not _is_shared(_check(build(*MIXING[case])))


def test_weights_with_a_row_for_each_sample_are_no_weights(build: Build) -> None:
    """A constant as long as the batch would differ from row to row; of one row there is nothing to refuse."""
    made = batch(build((1, 4), [_node("Add", "w")], {"w": WEIGHTS[:1]}), 4, MOST_NODES)
    assert _is_shared(made)
    with_rows = build((1, 4), [_node("Add", "w", output="t"), helper.make_node("ReduceMax", ["t"], ["y"], axes=[0])],
                      {"w": WEIGHTS})  # fmt: skip
    assert not _is_shared(batch(with_rows, 4, MOST_NODES))


def test_without_a_row_to_repeat_there_is_no_batch(build: Build) -> None:
    """A tensor whose first dimension is not 1 is named."""
    with pytest.raises(ValueError, match="y has the shape"):
        batch(build((1, 4), [_node("Transpose")], {}), 2, MOST_NODES)


def test_recurrent_states_have_a_row_for_each_sample() -> None:
    """The first states of an LSTM are constants of the model; each sample gets its own."""
    random = np.random.default_rng(5)
    shapes = {"w": (1, 8, 3), "r": (1, 8, 2), "b": (1, 16), "h": (1, 1, 2), "c": (1, 1, 2)}
    constants = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r", "b", "", "h", "c"], ["", "last"], hidden_size=2),
        helper.make_node("Transpose", ["last"], ["y"], perm=[1, 0, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 5, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, 2))],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert _is_shared(_check(model))
