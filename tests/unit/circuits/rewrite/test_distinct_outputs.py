"""Outputs that repeat another one, which EZKL would refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.candidates import Candidate
from verinfer.circuits.native import PARSE_LIMITS, Workplace
from verinfer.circuits.rewrite import distinct_outputs
from verinfer.verifier.child import ChildFailed


def _twice() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"]),
        helper.make_node("Reshape", ["t", "shape"], ["a"]),
        helper.make_node("Identity", ["t"], ["b"]),
        helper.make_node("Neg", ["t"], ["c"]),
    ]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xabc"}
    shape = numpy_helper.from_array(np.array([1, 3]), "shape")
    graph = helper.make_graph(nodes, "g", [values["x"]], [values[name] for name in "abc"], [shape])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_repeated_outputs_get_nodes_of_their_own(tmp_path: Path) -> None:
    """EZKL refuses the model as given and takes the rewritten one, which computes the same."""
    model, plain = _twice(), distinct_outputs.apply(_twice())
    feed = {"x": np.array([[0.5, -1.0, 2.0]], np.float32)}
    for one, two in zip(
        *(onnxruntime.InferenceSession(item.SerializeToString()).run(None, feed) for item in (model, plain)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
    place = Workplace(directory=tmp_path, limits=PARSE_LIMITS)
    run_args = Candidate(scale=7, rebase=2, base=256, legs=2).run_args()
    files = [tmp_path / "given.onnx", tmp_path / "plain.onnx"]
    for path, item in zip(files, (model, plain), strict=True):
        path.write_bytes(item.SerializeToString())
    place.ezkl("gen_settings", model=files[1], output=tmp_path / "settings", run_args=run_args)
    with pytest.raises(ChildFailed):
        place.ezkl("gen_settings", model=files[0], output=tmp_path / "settings", run_args=run_args)


def test_the_rule_is_idempotent_and_leaves_others_alone() -> None:
    """Outputs that differ stay as they are, the same object."""
    plain = distinct_outputs.apply(_twice())
    assert distinct_outputs.apply(plain) is plain
