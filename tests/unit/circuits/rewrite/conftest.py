"""What the tests of rewriting rules share: models made by hand, and the comparison of two models by onnxruntime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.rewrite.rules import replay

TOLERANCE = 1e-5


class Build(Protocol):
    """Makes a model of one input ``x`` and one output ``y`` from nodes and constants."""

    def __call__(
        self,
        shape: Sequence[int],
        nodes: Sequence[onnx.NodeProto],
        constants: dict[str, npt.NDArray[Any]],
        *,
        opset: int = 17,
    ) -> onnx.ModelProto:
        """The model; the output's shape is inferred."""


@pytest.fixture(scope="session")
def build() -> Build:
    """Models by hand."""

    def make(
        shape: Sequence[int],
        nodes: Sequence[onnx.NodeProto],
        constants: dict[str, npt.NDArray[Any]],
        *,
        opset: int = 17,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [onnx.ValueInfoProto(name="y")],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        model.graph.output[0].CopyFrom(inferred.graph.output[0])
        return model

    return make


@pytest.fixture(scope="session")
def rewritten() -> Callable[..., onnx.ModelProto]:
    """Applies rules and shows that nothing else changes: interface, values, validity, and that a second time changes nothing."""

    def apply(model: onnx.ModelProto, *rules: str, tolerance: float = TOLERANCE) -> onnx.ModelProto:
        before = model.SerializeToString(deterministic=True)
        after = replay(model, list(rules))
        if after is model:
            return after
        assert before == model.SerializeToString(deterministic=True)
        onnx.checker.check_model(after, full_check=True)
        assert list(model.graph.output) == list(after.graph.output)
        assert replay(after, list(rules)) is after
        assert difference(model, after) <= tolerance
        return after

    return apply


@pytest.fixture(scope="session")
def operators() -> Callable[[onnx.ModelProto], Counter[str]]:
    """How many nodes there are of each operator."""
    return lambda model: Counter(node.op_type for node in model.graph.node)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for ``zoo`` runs on each committed model."""
    if "zoo" in metafunc.fixturenames:
        paths = sorted((Path(__file__).parents[4] / "models" / "zoo").glob("*/network.onnx"))
        metafunc.parametrize("zoo", paths, ids=[path.parent.name for path in paths])


def difference(first: onnx.ModelProto, second: onnx.ModelProto) -> float:
    """The largest difference of outputs on random inputs, over the largest output."""
    random = np.random.default_rng(7)
    feed = {
        value.name: random.normal(size=[dim.dim_value for dim in value.type.tensor_type.shape.dim]).astype(
            helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        )
        for value in first.graph.input
        if value.name not in {item.name for item in first.graph.initializer}
    }
    ours, theirs = _run(first, feed), _run(second, feed)
    largest = max(float(np.abs(value).max()) for value in ours) or 1.0
    return (
        max(
            float(np.abs(np.float64(one) - np.float64(two)).max())
            for one, two in zip(ours, theirs, strict=True)
        )
        / largest
    )


def _run(model: onnx.ModelProto, feed: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(value) for value in session.run(None, feed)]
