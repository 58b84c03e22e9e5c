"""Models as converters and exporters write them: what adoption makes of them, compared with onnxruntime on the original."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.native import PARSE_LIMITS, Workplace
from verinfer.circuits.rewrite.adoption import adopt
from verinfer.verifier.errors import Malformed

ML = "ai.onnx.ml"
Array = npt.NDArray[Any]


@pytest.fixture
def light(tmp_path: Path) -> Workplace:
    """A directory for children, with the limits for parsing."""
    return Workplace(directory=tmp_path, limits=PARSE_LIMITS)


def _value(name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    tensors: dict[str, Array] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(value, name) for name, value in (tensors or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _ml(operator: str, outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, ["x"], outputs, name="the_node", domain=ML, **attributes)


def _session(model: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def _adopted(light: Workplace, model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    path, out = light.directory / "given.onnx", light.directory / "plain.onnx"
    path.write_bytes(model.SerializeToString())
    steps = light.onnx("adopt", model=path, output=out)["steps"]
    return onnx.load(str(out)), steps


def _assert_same(model: onnx.ModelProto, width: int) -> None:
    plain, _ = adopt(model)
    assert all(node.domain == "" for node in plain.graph.node)
    names = [value.name for value in plain.graph.output]
    random = np.random.default_rng(7)
    first, second = _session(model), _session(plain)
    for _ in range(40):
        feed = {"x": random.normal(0, 2, (1, width)).astype(np.float32)}
        for one, two in zip(first.run(names, feed), second.run(names, feed), strict=True):
            scores = np.array([list(row.values()) for row in one]) if isinstance(one, list) else one
            assert np.abs(scores - two).max() <= 1e-4 * max(np.abs(scores).max(), 1e-9)


def _forest(
    random: np.random.Generator, width: int, trees: int, depth: int, mode: str = "BRANCH_LEQ"
) -> tuple[dict[str, list[Any]], list[tuple[int, int]]]:
    """Random trees that are not full, as a node's attributes; and where the leaves are."""
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    found: dict[str, list[Any]] = {f"nodes_{name}": [] for name in names}
    leaves = []

    def grow(tree: int, number: int, level: int) -> int:
        """Add a node and what is below it; gives the next free number."""
        leaf = level == depth or (level > 0 and random.random() < 0.25)
        row = [
            tree,
            number,
            int(random.integers(width)),
            float(random.normal()),
            "LEAF" if leaf else mode,
            0,
            0,
        ]
        place = len(found["nodes_treeids"])
        for name, value in zip(names, row, strict=True):
            found[f"nodes_{name}"].append(value)
        if leaf:
            leaves.append((tree, number))
            return number + 1
        found["nodes_truenodeids"][place] = number + 1
        following = grow(tree, number + 1, level + 1)
        found["nodes_falsenodeids"][place] = following
        return grow(tree, following, level + 1)

    for tree in range(trees):
        grow(tree, 0, 0)
    return found, leaves


def _classifier(
    classes: int, post: str, *, binary: bool = False, positive: bool = False, mode: str = "BRANCH_LEQ"
) -> onnx.NodeProto:
    random = np.random.default_rng(classes)
    nodes, leaves = _forest(random, 5, 6, 4, mode)
    weights = random.normal(size=len(leaves))
    return _ml(
        "TreeEnsembleClassifier",
        ["label", "scores"],
        **nodes,
        class_treeids=[tree for tree, _ in leaves],
        class_nodeids=[number for _, number in leaves],
        class_ids=[0 if binary else tree % classes for tree, _ in leaves],
        class_weights=(np.abs(weights) / 6 if positive else weights).tolist(),
        classlabels_int64s=list(range(classes)),
        post_transform=post,
        base_values=[0.3] if binary else [0.1] * classes,
    )


def _labelled(node: onnx.NodeProto, width: int, classes: int) -> onnx.ModelProto:
    """A classifier as converters give it: a label, and a map from labels to scores."""
    zipped = helper.make_node(
        "ZipMap", ["scores"], ["zipped"], domain=ML, classlabels_int64s=list(range(classes))
    )
    map_type = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    )
    maps = onnx.ValueInfoProto(name="zipped", type=helper.make_sequence_type_proto(map_type))
    label = _value("label", ["N"], TensorProto.INT64)
    return _model([node, zipped], [_value("x", ["N", width])], [label, maps])


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_a_tree_classifier_of_many_classes_gives_the_same_scores(post: str) -> None:
    """Trees that are not full, with any of the usual transforms, compute what onnxruntime does."""
    _assert_same(_labelled(_classifier(3, post), 5, 3), 5)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("positive", [True, False])
def test_a_binary_tree_classifier_gives_both_scores(post: str, *, positive: bool) -> None:
    """One sum becomes two scores, by the sign of the weights, as onnxruntime does it."""
    _assert_same(_labelled(_classifier(2, post, binary=True, positive=positive), 5, 2), 5)


@pytest.mark.parametrize("mode", ["BRANCH_LT", "BRANCH_GT", "BRANCH_GTE"])
@pytest.mark.parametrize("opset", [9, 17])
def test_every_comparison_decides_the_same(mode: str, opset: int) -> None:
    """The input lies on a threshold half of the time, and old opsets lack two of the comparisons."""
    node = _classifier(3, "NONE", mode=mode)
    model = _model([node], [_value("x", [1, 5])], [_value("scores", [1, 3])], opset=opset)
    plain, _ = adopt(model)
    random = np.random.default_rng(3)
    first, second = _session(model), _session(plain)
    thresholds = next(item for item in node.attribute if item.name == "nodes_values").floats
    for _ in range(40):
        feed = {"x": random.choice(thresholds, (1, 5)).astype(np.float32)}
        np.testing.assert_allclose(second.run(["scores"], feed)[0], first.run(["scores"], feed)[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["SUM", "AVERAGE"])
def test_a_tree_regressor_gives_the_same_numbers(kind: str) -> None:
    """Sums and means of trees, two targets, with base values."""
    nodes, leaves = _forest(np.random.default_rng(1), 4, 7, 5)
    node = _ml(
        "TreeEnsembleRegressor",
        ["y"],
        **nodes,
        target_treeids=[tree for tree, _ in leaves],
        target_nodeids=[number for _, number in leaves],
        target_ids=[number % 2 for _, number in leaves],
        target_weights=np.random.default_rng(2).normal(size=len(leaves)).tolist(),
        n_targets=2,
        aggregate_function=kind,
        base_values=[0.5, -0.5],
    )
    _assert_same(_model([node], [_value("x", ["N", 4])], [_value("y", ["N", 2])]), 4)


def test_a_forest_of_single_leaves_is_a_constant() -> None:
    """A tree that never asks anything is rewritten too."""
    nodes, leaves = _forest(np.random.default_rng(1), 4, 2, 0)
    node = _ml(
        "TreeEnsembleRegressor",
        ["y"],
        **nodes,
        target_treeids=[tree for tree, _ in leaves],
        target_nodeids=[number for _, number in leaves],
        target_ids=[0, 0],
        target_weights=[1.0, 2.0],
        n_targets=1,
    )
    _assert_same(_model([node], [_value("x", ["N", 4])], [_value("y", ["N", 1])]), 4)


def _broken(**changes: Any) -> onnx.ModelProto:
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_values": [0.0, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [1.0, 2.0],
        **changes,
    }
    node = _ml("TreeEnsembleRegressor", ["y"], **attributes)
    return _model([node], [_value("x", [1, 2])], [_value("y", [1, 1])])


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes_falsenodeids": [0, 0, 0]},
        {"nodes_falsenodeids": [7, 0, 0]},
        {"nodes_falsenodeids": [1, 0, 0]},
        {"nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"], "nodes_truenodeids": [1, 2, 0]},
        {"nodes_nodeids": [0, 1, 1]},
        {"nodes_featureids": [2, 0, 0]},
        {"nodes_featureids": [-1, 0, 0]},
        {"nodes_values": [0.0, 0.0]},
        {"target_ids": [0, 5]},
        {"target_weights": [1.0]},
        {"nodes_modes": ["BRANCH_EQ", "LEAF", "LEAF"]},
        {"post_transform": "PROBIT"},
        {"aggregate_function": "MAX"},
    ],
)
def test_a_malformed_ensemble_is_refused_with_a_reason(changes: dict[str, Any]) -> None:
    """Cycles, missing nodes, wrong lengths and what has no rewrite end with a code, not with a traceback or a hang."""
    with pytest.raises(Malformed) as caught:
        adopt(_broken(**changes))
    assert caught.value.code == "model-unsupported"


def _linear_node(operator: str, rows: int, **attributes: Any) -> onnx.NodeProto:
    random = np.random.default_rng(5)
    outputs = ["label", "scores"] if operator == "LinearClassifier" else ["scores"]
    numbers = {
        "coefficients": random.normal(size=rows * 4).tolist(),
        "intercepts": random.normal(size=rows).tolist(),
    }
    return _ml(operator, outputs, **numbers, **attributes)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_a_linear_classifier_gives_the_same_scores(post: str) -> None:
    """Weights are turned over, intercepts added, the transform applied."""
    node = _linear_node("LinearClassifier", 3, classlabels_ints=[0, 1, 2], post_transform=post)
    _assert_same(_labelled(node, 4, 3), 4)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC"])
def test_a_linear_classifier_with_one_row_gives_both_scores(post: str) -> None:
    """The second class's score is given, the first's follows from it."""
    node = _linear_node("LinearClassifier", 1, classlabels_ints=[0, 1], post_transform=post)
    _assert_same(_labelled(node, 4, 2), 4)


def test_a_linear_regressor_gives_the_same_numbers() -> None:
    """Two targets of four features."""
    node = _linear_node("LinearRegressor", 2, targets=2)
    _assert_same(_model([node], [_value("x", ["N", 4])], [_value("scores", ["N", 2])]), 4)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("Scaler", {"offset": [1.0, 2.0, 3.0, 4.0], "scale": [0.5, 2.0, 1.0, 0.25]}),
        ("Scaler", {"offset": [1.5], "scale": [0.5]}),
        ("Normalizer", {"norm": "MAX"}),
        ("Normalizer", {"norm": "L1"}),
        ("Normalizer", {"norm": "L2"}),
        ("Binarizer", {"threshold": 0.25}),
    ],
)
@pytest.mark.parametrize("opset", [12, 17, 18])
def test_preparation_of_features_gives_the_same_numbers(
    operator: str, attributes: dict[str, Any], opset: int
) -> None:
    """Scaling, norms and thresholds, under several opsets."""
    node = _ml(operator, ["y"], **attributes)
    _assert_same(_model([node], [_value("x", ["N", 4])], [_value("y", ["N", 4])], opset=opset), 4)


def test_a_pipeline_keeps_its_scores_and_loses_its_labels(light: Workplace) -> None:
    """Text and maps go; the output of scores keeps its name and gets a fixed shape; the steps are named."""
    plain, steps = _adopted(light, _labelled(_classifier(3, "SOFTMAX"), 5, 3))
    assert [value.name for value in plain.graph.output] == ["zipped"]
    assert [dim.dim_value for dim in plain.graph.output[0].type.tensor_type.shape.dim] == [1, 3]
    assert steps == ["cut-labels", "static-shapes", "ml-operators"]
    assert {item.domain for item in plain.opset_import} == {""}


def test_a_model_that_gives_only_labels_is_refused(light: Workplace) -> None:
    """There would be nothing left to prove; the error says how to convert it."""
    model = _model([_classifier(3, "NONE")], [_value("x", [1, 5])], [_value("label", [1], TensorProto.INT64)])
    with pytest.raises(Malformed, match="scores or probabilities") as caught:
        _adopted(light, model)
    assert caught.value.code == "model-unsupported"


def test_an_operator_of_another_domain_is_still_refused(light: Workplace) -> None:
    """Adoption lets through only what it takes away."""
    node = _ml("SVMRegressor", ["y"], coefficients=[1.0])
    with pytest.raises(Malformed, match="domain") as caught:
        _adopted(light, _model([node], [_value("x", [1, 2])], [_value("y", [1, 1])]))
    assert caught.value.code == "model-refused"


def _relu(shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    return _model(
        [helper.make_node("Abs", ["x"], ["y"])], [_value("x", shape, kind)], [_value("y", shape, kind)]
    )


@pytest.mark.parametrize("shape", [["N", 3], [None, 3], [2, "batch_size"], ["batch", 3, "batch"]])
def test_an_open_batch_becomes_one(light: Workplace, shape: list[Any]) -> None:
    """Named or nameless first dimensions, and whatever is called a batch."""
    plain, steps = _adopted(light, _relu(shape))
    wanted = [size if isinstance(size, int) else 1 for size in shape]
    for value in (*plain.graph.input, *plain.graph.output):
        assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == wanted
    assert steps == ["static-shapes"]


@pytest.mark.parametrize("shape", [[1, "sequence"], ["batch", "sequence"], ["N", None], [1, None]])
def test_any_other_open_size_is_refused(light: Workplace, shape: list[Any]) -> None:
    """A sequence's length is the owner's choice; the error names the input and what to do."""
    with pytest.raises(Malformed, match=r"input x leaves .* export it") as caught:
        _adopted(light, _relu(shape))
    assert caught.value.code == "model-refused"


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (TensorProto.DOUBLE, TensorProto.FLOAT),
        (TensorProto.FLOAT16, TensorProto.FLOAT),
        (TensorProto.INT32, TensorProto.INT64),
        (TensorProto.UINT8, TensorProto.INT64),
    ],
)
def test_edges_become_fp32_or_int64(light: Workplace, kind: int, wanted: int) -> None:
    """Every other datatype at an edge is converted, and the model still runs."""
    plain, steps = _adopted(light, _relu([1, 3], kind))
    assert {value.type.tensor_type.elem_type for value in (*plain.graph.input, *plain.graph.output)} == {
        wanted
    }
    assert steps == ["plain-types"]
    given = np.array([[1, 2, 3]], helper.tensor_dtype_to_np_dtype(wanted))
    np.testing.assert_array_equal(_session(plain).run(["y"], {"x": given})[0], given)


def test_a_plain_model_is_left_alone() -> None:
    """Nothing to adopt means the same object and no step."""
    model = _relu([1, 3])
    adopted, steps = adopt(model)
    assert adopted is model
    assert steps == []


def test_adoption_gives_the_same_bytes_each_time(light: Workplace) -> None:
    """A rebuild in another process gives the same plain model."""
    model = _labelled(_classifier(3, "SOFTMAX"), 5, 3)
    first, second = (_adopted(light, model)[0].SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_an_outputs_size_is_measured_not_believed(light: Workplace) -> None:
    """A batch that is tiled inside gives more rows than the output's declared batch."""
    tile = helper.make_node("Tile", ["x", "twice"], ["y"])
    model = _model(
        [tile], [_value("x", ["N", 3])], [_value("y", ["N", 3])], {"twice": np.array([2, 1], np.int64)}
    )
    plain, _ = _adopted(light, model)
    assert [dim.dim_value for dim in plain.graph.output[0].type.tensor_type.shape.dim] == [2, 3]
