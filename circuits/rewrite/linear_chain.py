"""Constant products, sums and factors along the last axis that follow each other directly become one product and one sum.

Two products are merged only where that makes fewer weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx

from .graph import Array, Graph, rewrite_nodes


@dataclass(frozen=True, slots=True)
class Affine:
    """x to x·matrix + term, on the last axis, in binary64; a vector as `matrix` is a factor per column, None is 1 or 0."""

    matrix: Array | None
    term: Array | None

    @property
    def cost(self) -> int:
        """How many constants it takes."""
        return sum(value.size for value in (self.matrix, self.term) if value is not None)

    @property
    def nodes(self) -> int:
        """How many nodes it takes."""
        return sum(value is not None for value in (self.matrix, self.term))


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Merge every chain."""
    return rewrite_nodes(model, _visit)


def _visit(graph: Graph, node: onnx.NodeProto) -> bool:
    chain, steps = [node], [_read(graph, node, None)]
    while (after := graph.only_consumer(chain[-1].output[0])) is not None and steps[-1] is not None:
        chain.append(after)
        steps.append(_read(graph, after, chain[-2].output[0]))
    known = [step for step in steps if step is not None]
    merged = reduce(_push, known, list[Affine]())
    if not merged or sum(step.nodes for step in merged) >= len(known):
        return False
    name, out = _variable(graph, node), chain[len(known) - 1].output[0]
    writes = [write for step in merged for write in _writes(step)]
    for index, (operator, value) in enumerate(writes):
        constant = graph.new_constant(value.astype(np.float32), f"{out}.{operator.lower()}")
        last = index == len(writes) - 1
        name = graph.emit(operator, [name, constant], out if last else graph.fresh(f"{out}.part"))
    for skipped in chain[1 : len(known)]:
        graph.skip(skipped)
    return True


def _writes(step: Affine) -> list[tuple[str, Array]]:
    product = [] if step.matrix is None else [("MatMul" if step.matrix.ndim == 2 else "Mul", step.matrix)]
    return product if step.term is None else [*product, ("Add", step.term)]


def _variable(graph: Graph, node: onnx.NodeProto) -> str:
    return str(next(name for name in node.input if graph.constant(name) is None))


def _read(graph: Graph, node: onnx.NodeProto, source: str | None) -> Affine | None:
    """The node as a function of `source` (None: of its only variable input), if it is one."""
    if node.op_type not in ("MatMul", "Add", "Sub", "Mul", "Div"):
        return None
    left, right = (graph.constant(name) for name in node.input)
    if (left is None) == (right is None) or (source and _variable(graph, node) != source):
        return None
    value, shape = right if left is None else left, graph.shape(_variable(graph, node))
    if (
        value is None
        or value.dtype != np.float32
        or not shape
        or (left is not None and node.op_type not in ("Add", "Mul"))
    ):
        return None
    value = value.astype(np.float64)
    if node.op_type == "MatMul":
        return Affine(value, None) if value.ndim == 2 else None
    if (
        value.ndim > len(shape)
        or value.size not in (1, shape[-1])
        or value.shape[-1:] not in ((), (value.size,))
    ):
        return None
    vector = np.broadcast_to(value.ravel(), shape[-1:])
    match node.op_type:
        case "Add" | "Sub":
            return Affine(None, vector if node.op_type == "Add" else -vector)
        case "Mul":
            return Affine(vector, None)
        case _:
            return Affine(1 / vector, None) if vector.all() else None


def _push(done: list[Affine], step: Affine) -> list[Affine]:
    if done and (both := _compose(done[-1], step)).cost <= done[-1].cost + step.cost:
        return _push(done[:-1], both)
    return [*done, step]


def _compose(first: Affine, second: Affine) -> Affine:
    matrix, term, other = first.matrix, first.term, second.matrix
    if other is not None:
        if term is not None:
            term = term @ other if other.ndim == 2 else term * other
        if matrix is None:
            matrix = other
        elif other.ndim == 1:
            matrix = matrix * other
        else:
            matrix = matrix @ other if matrix.ndim == 2 else matrix[:, None] * other
    if second.term is not None:
        term = second.term if term is None else term + second.term
    return Affine(matrix, term)
