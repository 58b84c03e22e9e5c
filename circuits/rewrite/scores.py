"""The scores of ``ai.onnx.ml`` classifiers and regressors: what is done to raw sums before they are given out.

Source: ONNX ``ai.onnx.ml`` operator schemas (``post_transform``); for the second class of a binary model, which the schemas
leave open, what onnxruntime does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verinfer.verifier.errors import Malformed

from .graph import Graph


def transform(graph: Graph, scores: str, post: str, output: str) -> None:
    """Write ``post_transform`` of `scores`, [N, K], as `output`; raises `Malformed` (``model-unsupported``)."""
    operator = {"NONE": "Identity", "LOGISTIC": "Sigmoid", "SOFTMAX": "Softmax"}.get(post)
    if operator is None:
        raise unsupported(f"the post_transform {post[:32]} has no rewrite; NONE, LOGISTIC and SOFTMAX have")
    graph.emit(operator, [scores], output, **({"axis": -1} if operator == "Softmax" else {}))


def both_classes(graph: Graph, score: str, post: str, output: str, *, probability: bool) -> None:
    """Write the scores of both classes, [N, 2], from the second one's, [N, 1]; raises `Malformed` (``model-unsupported``).

    A score s becomes (-s, s), each through the logistic function if so asked; else a probability p becomes (1 - p, p).
    """
    if post not in ("NONE", "LOGISTIC"):
        raise unsupported(f"the post_transform {post[:32]} of a binary classifier has no rewrite")
    row = graph.new_constant(np.array([[-1.0, 1.0]], np.float32), f"{output}.signs")
    pair = graph.emit("Mul", [score, row], graph.fresh(f"{output}.pair"))
    if post == "NONE" and probability:
        ones = graph.new_constant(np.array([[1.0, 0.0]], np.float32), f"{output}.ones")
        graph.emit("Add", [pair, ones], output)
    else:
        transform(graph, pair, post, output)


def class_count(integers: Sequence[int], strings: Sequence[bytes]) -> int:
    """How many classes a classifier names."""
    return max(len(integers), len(strings))


def unsupported(reason: str) -> Malformed:
    """The error for a node that nobody can rewrite."""
    return Malformed("model-unsupported", f"The model cannot be compiled: {reason}.")
