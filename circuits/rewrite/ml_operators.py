"""The operators of ``ai.onnx.ml``, which converters of scikit-learn, XGBoost and LightGBM write, in plain operators.

What is text, a label's name or a map from names to scores, is cut off: the scores stay, and whoever reads them finds the label.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import TensorProto, helper

from . import linear_models, tree_ensemble
from .graph import Graph, rewrite_nodes
from .scores import unsupported

_DOMAIN = "ai.onnx.ml"
_OPSET = 13
"""For a file that names no version of ``ai.onnx`` because it holds nothing of it."""
_REWRITES: dict[str, Callable[[Graph, onnx.NodeProto], None]] = {
    "ArrayFeatureExtractor": linear_models.array_feature_extractor,
    "Binarizer": linear_models.binarizer,
    "FeatureVectorizer": linear_models.feature_vectorizer,
    "Imputer": linear_models.imputer,
    "LinearClassifier": linear_models.linear_classifier,
    "LinearRegressor": linear_models.linear_regressor,
    "Normalizer": linear_models.normalizer,
    "Scaler": linear_models.scaler,
    "TreeEnsembleClassifier": tree_ensemble.classifier,
    "TreeEnsembleRegressor": tree_ensemble.regressor,
}
_TEXT = ("LabelEncoder", "ZipMap")
_LABELLED = ("LinearClassifier", "TreeEnsembleClassifier")

ML_OPERATORS = frozenset(f"{_DOMAIN}:{name}" for name in (*_REWRITES, *_TEXT))
"""The operators that are rewritten or cut off, with their domain."""


def cut_labels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Leave out outputs that only name a class, and give a ZipMap's scores as a tensor.

    Only models with an operator of ``ai.onnx.ml`` are changed. Raises `Malformed` (``model-unsupported``) if nothing is left.
    """
    if not any(node.domain == _DOMAIN for node in model.graph.node):
        return model
    labels = _labels(model.graph)
    outputs = [value for value in model.graph.output if not (value.name in labels and _is_name(value))]
    if not outputs:
        raise unsupported(
            "it gives labels and no scores; convert it with its scores or probabilities as an output"
        )
    if len(outputs) == len(model.graph.output) and not any(
        node.op_type == "ZipMap" for node in model.graph.node
    ):
        return model
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    cut.graph.ClearField("output")
    cut.graph.output.extend(outputs)
    scores = {}
    for node in cut.graph.node:
        if node.op_type == "ZipMap":
            scores[node.output[0]] = node.input[0]
            node.CopyFrom(helper.make_node("Identity", [node.input[0]], [node.output[0]]))
    for value in cut.graph.output:
        if value.name in scores:
            # Its sizes are found by running the model.
            value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, [None, None]))
    _prune(cut.graph)
    return cut


def ml_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """Only ``ai.onnx`` operators; raises `Malformed` (``model-unsupported``) with the node's name."""
    plain = model
    while (place := _first(plain.graph)) is not None:
        plain = _rewritten(plain, place)
    if plain is model:
        return model
    kept = [item for item in plain.opset_import if item.domain != _DOMAIN]
    copy = onnx.ModelProto()
    copy.CopyFrom(plain)
    copy.ClearField("opset_import")
    copy.opset_import.extend(kept)
    return copy


def _first(graph: onnx.GraphProto) -> int | None:
    return next((place for place, node in enumerate(graph.node) if node.domain == _DOMAIN), None)


def _rewritten(model: onnx.ModelProto, place: int) -> onnx.ModelProto:
    """The model without its first such node: what comes before is plain, so its shapes can be inferred, those after cannot."""
    node = model.graph.node[place]
    rewrite = _REWRITES.get(node.op_type)
    if rewrite is None:
        raise unsupported(f"the node {node.name[:64]}, {node.op_type}, has no rewrite")
    scores = node.output[-1]
    front = onnx.ModelProto()
    front.CopyFrom(model)
    for name in ("node", "output", "value_info"):
        front.graph.ClearField(name)
    if not any(item.domain == "" for item in front.opset_import):
        front.opset_import.append(helper.make_opsetid("", _OPSET))
    front.graph.node.extend(model.graph.node[: place + 1])
    front.graph.output.append(helper.make_tensor_value_info(scores, TensorProto.FLOAT, None))

    def visit(graph: Graph, given: onnx.NodeProto) -> bool:
        if given.domain != _DOMAIN:
            return False
        rewrite(graph, given)
        return True

    written = rewrite_nodes(front, visit)
    later = model.graph.node[place + 1 :]
    made = {name for item in written.graph.node for name in item.output}
    # Nodes that only something later uses were left out of the front.
    needed = [item for item in model.graph.node[:place] if not made.intersection(item.output)]
    had = {tensor.name for tensor in written.graph.initializer}
    rest = [tensor for tensor in model.graph.initializer if tensor.name not in had]
    whole = onnx.ModelProto()
    whole.CopyFrom(written)
    whole.graph.ClearField("node")
    whole.graph.ClearField("output")
    whole.graph.node.extend([*needed, *written.graph.node, *later])
    whole.graph.initializer.extend(rest)
    whole.graph.output.extend(model.graph.output)
    _prune(whole.graph)
    return whole


def _is_name(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type in (TensorProto.INT64, TensorProto.STRING)


def _labels(graph: onnx.GraphProto) -> set[str]:
    """Tensors that follow from a label, or from the number of the largest score in a graph with text."""
    text = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.STRING}
    found: set[str] = set()
    for node in graph.node:
        if node.op_type in _LABELLED:
            found.add(node.output[0])
        elif node.op_type == "ArgMax" or found.intersection(node.input) or text.intersection(node.input):
            found.update(node.output)
    return found


def _prune(graph: onnx.GraphProto) -> None:
    used = {value.name for value in graph.output}
    alive = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(node.input)
            alive.append(node)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    alive.reverse()
    for name, items in (("node", alive), ("initializer", kept)):
        graph.ClearField(name)
        getattr(graph, name).extend(items)
