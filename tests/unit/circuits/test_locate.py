"""Networks that EZKL refuses: the error names the node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.candidates import Candidate
from verinfer.circuits.locate import explain
from verinfer.circuits.native import PARSE_LIMITS, Workplace

RUN_ARGS = Candidate(scale=7, rebase=2, base=256, legs=2).run_args()


@pytest.mark.parametrize("place_of_culprit", [0, 2])
def test_the_node_that_ezkl_refuses_is_named(tmp_path: Path, place_of_culprit: int) -> None:
    """At the beginning or inside; the reason is EZKL's own."""
    nodes = []
    for number in range(4):
        culprit = number == place_of_culprit
        names = [f"t{number}", "power"] if culprit else [f"t{number}"]
        operator = "Pow" if culprit else "Tanh"
        nodes.append(helper.make_node(operator, names, [f"t{number + 1}"], name=f"layer{number}"))
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("t0", "t4")]
    power = numpy_helper.from_array(np.array([[1, 2, 3]], np.float32), "power")
    graph = helper.make_graph(nodes, "g", edges[:1], edges[1:], [power])
    path = tmp_path / "given.onnx"
    path.write_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
    )
    error = explain(path, RUN_ARGS, Workplace(directory=tmp_path, limits=PARSE_LIMITS))
    assert error.code == "model-unsupported"
    assert f"layer{place_of_culprit} (Pow)" in error.message
    assert "scalar powers" in error.message
    assert onnx.load(str(path)).graph.node[0].name == "layer0"
