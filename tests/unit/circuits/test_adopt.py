"""Model folders made from a bare ONNX file and an NPZ file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.adopt import Given, make_folder
from verinfer.circuits.native import PARSE_LIMITS, Workplace
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import VerinferError
from verinfer.verifier.model_spec import parse_spec

WEIGHTS = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.5]], np.float32)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A directory for children, with the limits for parsing."""
    home = tmp_path / "place"
    home.mkdir()
    return Workplace(directory=home, limits=PARSE_LIMITS)


def _given(tmp_path: Path, *, batch: Any = 1, name: str = "x", **options: Any) -> Given:
    """A linear model of two features and three scores, and twenty samples with their true answers."""
    random = np.random.default_rng(3)
    inputs = random.normal(size=(20, 2)).astype(np.float32)
    arrays = {
        options.pop("array", name): options.pop("samples", inputs),
        "expected": options.pop("expected", (inputs @ WEIGHTS).argmax(axis=1)),
    }
    np.savez(
        tmp_path / "data.npz",
        allow_pickle=False,
        **{key: item for key, item in arrays.items() if item is not None},
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", [name, "w"], ["scores"])],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 2])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    return Given(onnx=tmp_path / "model.onnx", samples=tmp_path / "data.npz", name="linear", **options)


def test_a_plain_file_becomes_a_folder_that_names_it(tmp_path: Path, place: Workplace) -> None:
    """The network is the file itself, the spec parses, the samples are as given, the accuracy is measured."""
    given = _given(tmp_path)
    spec = make_folder(given, tmp_path / "out", place)
    assert spec == parse_spec((tmp_path / "out" / "spec.json").read_bytes())
    assert (tmp_path / "out" / "network.onnx").read_bytes() == given.onnx.read_bytes()
    assert spec.onnx == sha256(given.onnx.read_bytes())
    assert (spec.task, spec.labels) == ("classification", ("0", "1", "2"))
    assert (spec.accuracy.value, spec.accuracy.samples) == ("1.000000", 20)
    with np.load(tmp_path / "out" / "samples.npz") as samples, np.load(given.samples) as before:
        np.testing.assert_array_equal(samples["x"].reshape(20, 2), before["x"])
        np.testing.assert_array_equal(samples["expected"], before["expected"])


@pytest.mark.parametrize("array", ["layer::x", "layer_x"])
def test_an_open_batch_and_a_strange_name_are_adopted(tmp_path: Path, place: Workplace, array: str) -> None:
    """The spec names the steps; samples are found by the name before or after."""
    spec = make_folder(_given(tmp_path, batch="N", name="layer::x", array=array), tmp_path / "out", place)
    assert [item.name for item in spec.inputs] == ["layer_x"]
    assert spec.inputs[0].shape == (1, 2)
    assert "static-shapes, plain-names" in spec.data
    network = onnx.load(str(tmp_path / "out" / "network.onnx"))
    assert network.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_labels_and_task_are_what_the_owner_says(tmp_path: Path, place: Workplace) -> None:
    """Labels by name; a regression has none, and its expected values are compared one by one."""
    spec = make_folder(_given(tmp_path, labels=["a", "b", "c"]), tmp_path / "named", place)
    assert spec.labels == ("a", "b", "c")
    targets = np.zeros((20, 3), np.float32)
    spec = make_folder(_given(tmp_path, task="regression", expected=targets), tmp_path / "numbers", place)
    assert (spec.task, spec.labels, spec.accuracy.metric) == ("regression", None, "mean-absolute-error")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"labels": ["a"]}, "usage"),
        ({"task": "regression", "labels": ["a"], "expected": np.zeros((20, 3))}, "usage"),
        ({"array": "other"}, "sample-malformed"),
        ({"expected": None}, "sample-malformed"),
        ({"expected": np.zeros((20, 2))}, "shape-mismatch"),
        ({"expected": np.zeros(19)}, "sample-malformed"),
        ({"samples": np.zeros((20, 5))}, "shape-mismatch"),
        ({"batch": 2, "samples": np.zeros((20, 2))}, "shape-mismatch"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, place: Workplace, options: dict[str, Any], code: str
) -> None:
    """Each mistake has its code, and no folder appears."""
    with pytest.raises(VerinferError) as caught:
        make_folder(_given(tmp_path, **options), tmp_path / "out", place)
    assert caught.value.code == code
    assert not (tmp_path / "out").exists()


def test_a_folder_is_never_overwritten(tmp_path: Path, place: Workplace) -> None:
    """What is there stays."""
    (tmp_path / "out").mkdir()
    with pytest.raises(VerinferError) as caught:
        make_folder(_given(tmp_path), tmp_path / "out", place)
    assert caught.value.code == "exists"
