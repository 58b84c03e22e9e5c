"""Linear models and preparation of features of ``ai.onnx.ml`` in plain operators.

Source: ONNX ``ai.onnx.ml`` operator schemas.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from .graph import Graph, attribute
from .scores import both_classes, class_count, transform, unsupported


def linear_classifier(graph: Graph, node: onnx.NodeProto) -> None:
    """Write a LinearClassifier's scores, [N, classes], as its second output; labels are left out."""
    classes = class_count(attribute(node, "classlabels_ints", []), attribute(node, "classlabels_strings", []))
    post, output = attribute(node, "post_transform", "NONE"), node.output[1]
    rows = len(attribute(node, "intercepts", [])) or classes
    scores = _linear(graph, node, rows, output)
    if rows == 1 and classes == 2:
        both_classes(graph, scores, post, output, probability=True)
        return
    transform(graph, scores, post, output)


def linear_regressor(graph: Graph, node: onnx.NodeProto) -> None:
    """Write a LinearRegressor's output, [N, targets]."""
    scores = _linear(graph, node, attribute(node, "targets", 1), node.output[0])
    transform(graph, scores, attribute(node, "post_transform", "NONE"), node.output[0])


def scaler(graph: Graph, node: onnx.NodeProto) -> None:
    """Write ``(x - offset) · scale`` as one product and one sum."""
    output = node.output[0]
    scale, offset = (np.asarray(attribute(node, name, []), np.float64) for name in ("scale", "offset"))
    if not len(scale) or not len(offset):
        raise unsupported("a Scaler has no scale or no offset")
    factor = graph.new_constant(scale.astype(np.float32), f"{output}.scale")
    shift = graph.new_constant((-offset * scale).astype(np.float32), f"{output}.offset")
    product = graph.emit(
        "Mul", [_float(graph, node.input[0], output), factor], graph.fresh(f"{output}.scaled")
    )
    graph.emit("Add", [product, shift], output)


def normalizer(graph: Graph, node: onnx.NodeProto) -> None:
    """Write ``x / norm(x)`` over the last axis; where the classifier before gives probabilities that sum to 1, x itself."""
    output, norm = node.output[0], attribute(node, "norm", "MAX")
    given = _float(graph, node.input[0], output)
    if norm == "L1" and _sums_to_one(graph, node.input[0]):
        graph.emit("Identity", [given], output)
        return
    axis: dict[str, Any] = {"keepdims": 1}
    absolute = given
    if norm == "MAX":
        operator = "ReduceMax"
    elif norm in ("L1", "L2"):
        operator = "ReduceSum"
        absolute = graph.emit(
            "Abs" if norm == "L1" else "Mul",
            [given] if norm == "L1" else [given, given],
            graph.fresh(f"{output}.sizes"),
        )
    else:
        raise unsupported(f"the norm {norm[:32]} of a Normalizer has no rewrite")
    inputs = [absolute]
    if (operator == "ReduceSum" and graph.opset >= 13) or graph.opset >= 18:
        inputs.append(graph.new_constant(np.array([-1], np.int64), f"{output}.axis"))
    else:
        axis["axes"] = [-1]
    total = graph.emit(operator, inputs, graph.fresh(f"{output}.norm"), **axis)
    if norm == "L2":
        total = graph.emit("Sqrt", [total], graph.fresh(f"{output}.root"))
    graph.emit("Div", [given, total], output)


def array_feature_extractor(graph: Graph, node: onnx.NodeProto) -> None:
    """Write a choice of columns, along the last axis."""
    places = graph.constant(node.input[1])
    shape = graph.shape(node.input[0])
    if places is None or shape is None:
        raise unsupported("an ArrayFeatureExtractor chooses columns by a computed number")
    flat = graph.new_constant(places.astype(np.int64).ravel(), f"{node.output[0]}.columns")
    graph.emit("Gather", [node.input[0], flat], node.output[0], axis=len(shape) - 1)


def binarizer(graph: Graph, node: onnx.NodeProto) -> None:
    """Write 1 where an element is above the threshold, else 0."""
    output = node.output[0]
    threshold = graph.new_constant(np.float32(attribute(node, "threshold", 0.0)), f"{output}.threshold")
    truth = graph.emit(
        "Greater", [_float(graph, node.input[0], output), threshold], graph.fresh(f"{output}.truth")
    )
    graph.emit("Cast", [truth], output, to=TensorProto.FLOAT)


def feature_vectorizer(graph: Graph, node: onnx.NodeProto) -> None:
    """Write all inputs side by side."""
    parts = [_float(graph, name, node.output[0]) for name in node.input]
    graph.emit("Concat", parts, node.output[0], axis=1)


def imputer(graph: Graph, node: onnx.NodeProto) -> None:
    """Write the input itself: it replaces NaN, which no circuit takes; other replaced values are refused."""
    if "replaced_value_float" in {item.name for item in node.attribute} and not np.isnan(
        attribute(node, "replaced_value_float", 0.0)
    ):
        raise unsupported("an Imputer that replaces a number has no rewrite; do that before the model")
    graph.emit("Identity", [node.input[0]], node.output[0])


def _linear(graph: Graph, node: onnx.NodeProto, rows: int, output: str) -> str:
    coefficients = np.asarray(attribute(node, "coefficients", []), np.float32)
    shape = graph.shape(node.input[0])
    if rows < 1 or shape is None or coefficients.size != rows * shape[-1] or len(shape) != 2:
        raise unsupported(f"{node.op_type} has not one coefficient for each feature and class")
    weights: npt.NDArray[np.float32] = coefficients.reshape(rows, -1).T
    intercepts = np.asarray(attribute(node, "intercepts", [0.0] * rows), np.float32)
    if intercepts.size != rows:
        raise unsupported(f"{node.op_type} has not one intercept for each class")
    given = _float(graph, node.input[0], output)
    product = graph.emit(
        "MatMul", [given, graph.new_constant(weights, f"{output}.weights")], graph.fresh(f"{output}.product")
    )
    bias = graph.new_constant(intercepts[None, :], f"{output}.bias")
    return graph.emit("Add", [product, bias], graph.fresh(f"{output}.sum"))


def _sums_to_one(graph: Graph, name: str) -> bool:
    maker = graph.producer(name)
    if maker is None or maker.op_type not in ("LinearClassifier", "TreeEnsembleClassifier"):
        return False
    return bool(attribute(maker, "post_transform", "NONE") == "SOFTMAX")


def _float(graph: Graph, name: str, hint: str) -> str:
    return graph.emit("Cast", [name], graph.fresh(f"{hint}.input"), to=TensorProto.FLOAT)
