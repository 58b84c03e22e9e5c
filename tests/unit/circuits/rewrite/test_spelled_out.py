"""Operators that EZKL's importer lacks, against onnxruntime; and EZKL takes what they become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.candidates import Candidate
from verinfer.circuits.native import PARSE_LIMITS, Workplace
from verinfer.circuits.rewrite.spelled_out import spelled_out

Case = tuple[str, list[int], dict[str, npt.NDArray[Any]], dict[str, Any], int]

_RANDOM = np.random.default_rng(2)
_ROW = _RANDOM.normal(size=(1, 4)).astype(np.float32)
_FOUR, _TWO = (_RANDOM.normal(size=size).astype(np.float32) for size in (4, 2))
CASES: dict[str, Case] = {
    "gelu": ("Gelu", [1, 4], {}, {}, 20),
    "gelu-tanh": ("Gelu", [1, 4], {}, {"approximate": "tanh"}, 20),
    "mish": ("Mish", [1, 4], {}, {}, 18),
    "group-18": ("GroupNormalization", [1, 4, 3, 3], {"s": _TWO, "b": _TWO}, {"num_groups": 2}, 18),
    "group-21": ("GroupNormalization", [1, 4, 3], {"s": _FOUR, "b": _FOUR}, {"num_groups": 2}, 21),
    "norm-1": ("LpNormalization", [1, 4], {}, {"p": 1}, 17),
    "norm-2": ("LpNormalization", [2, 4], {}, {"axis": 0}, 22),
    "tile": ("Tile", [1, 3, 2], {"r": np.array([2, 1, 3], np.int64)}, {}, 17),
    "pad-reflect": ("Pad", [1, 4, 3], {"p": np.array([0, 2, 1, 0, 1, 0], np.int64)}, {"mode": "reflect"}, 17),
    "pad-edge": ("Pad", [1, 4], {"p": np.array([0, 3, 0, 1], np.int64)}, {"mode": "edge"}, 17),
    "max": ("Max", [1, 4], {"c": _ROW}, {}, 17),
}


def _model(case: Case) -> onnx.ModelProto:
    operator, shape, constants, attributes, opset = case
    node = helper.make_node(operator, ["x", *constants], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                "y", TensorProto.FLOAT, shape if operator.startswith("Group") else None
            )
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


@pytest.mark.parametrize("name", CASES)
def test_what_the_importer_lacks_is_spelled_out(name: str) -> None:
    """The same numbers, without the operator; a second time there is nothing to do."""
    model = _model(CASES[name])
    plain = spelled_out(model)
    assert CASES[name][0] not in {node.op_type for node in plain.graph.node}
    onnx.checker.check_model(plain, full_check=True)
    first, second = (onnxruntime.InferenceSession(item.SerializeToString()) for item in (model, plain))
    for _ in range(10):
        feed = {"x": _RANDOM.normal(size=CASES[name][1]).astype(np.float32)}
        (before,), (after,) = first.run(None, feed), second.run(None, feed)
        np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max(), rtol=0)
    assert spelled_out(plain) is plain


def test_ezkl_takes_all_of_them(tmp_path: Path) -> None:
    """Rows are counted for every case in one child."""
    place = Workplace(directory=tmp_path, limits=PARSE_LIMITS)
    run_args = Candidate(scale=7, rebase=2, base=256, legs=2).run_args()
    for name, case in CASES.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(spelled_out(_model(case)).SerializeToString())
        counted = place.ezkl("count_rows", model=path, directory=tmp_path, candidates=[run_args])
        assert counted[0] is not None, name


@pytest.mark.parametrize(
    "case",
    [
        ("Max", [1, 4], {"c": np.array(0, np.float32)}, {}, 17),
        ("Pad", [1, 4], {"p": np.array([0, 3, 0, 1], np.int64)}, {}, 17),
        ("Tanh", [1, 4], {}, {}, 17),
    ],
)
def test_what_the_importer_knows_is_left_alone(case: Case) -> None:
    """The same object."""
    model = _model(case)
    assert spelled_out(model) is model
