"""The stages of a network while its nodes are read, and the tensors as views of them; inside a limited child.

A view holds what only moves numbers: which cell of a stage's output stands at which place of a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod

import numpy as np
import onnx

from verinfer.verifier.errors import Malformed

from ..rewrite.graph import Array, Graph, Shape, optional_input
from .description import Dims
from .network import INPUT, Operation, Reals, same

MOST_WEIGHTS = 1 << 26
"""Numbers of all weights together once groups are dense and kernels square: what fits the memory of a child."""


@dataclass(kw_only=True, eq=False)
class Draft:
    """A stage that nodes may still add to."""

    name: str
    op: Operation
    dims: Dims
    source: int
    k: int = 1
    stride: int = 1
    pad: int = 0
    weights: Reals | None = None
    bias: Reals | None = None
    add: int | None = None
    low: float = -inf
    high: float = inf

    @property
    def clipped(self) -> bool:
        """Whether a ReLU or a Clip went into it."""
        return self.low > -inf or self.high < inf


@dataclass(frozen=True, slots=True)
class View:
    """A tensor as a stage's output: its shape, and the flat place in that output of each of its cells, None if in order.

    `sole`: every tensor between the two has one user, so the stage may still change.
    """

    stage: int
    shape: Shape
    order: Array | None
    sole: bool


class Drafts:
    """The stages so far, by number, and the views of tensors, by name.

    `in_dims` is what the first reader of the input takes it for.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.drafts: list[Draft] = []
        self.views: dict[str, View] = {}
        self.in_dims: Dims = ()
        self._size = 0

    def view(self, node: onnx.NodeProto, index: int = 0) -> View:
        """The activation that a node takes."""
        view = self.views.get(optional_input(node, index))
        if view is None:
            raise refusal(node, "it would need a constant where an activation stands, or the reverse")
        return view

    def constant(self, node: onnx.NodeProto, index: int) -> Reals:
        """The constant that a node takes, in binary64."""
        value = self.graph.constant(optional_input(node, index))
        if value is None:
            raise refusal(node, "it would need products of two activations")
        return np.asarray(value, np.float64)

    def shape_of(self, node: onnx.NodeProto) -> Shape:
        """The shape of what a node gives."""
        shape = self.graph.shape(node.output[0])
        if shape is None:
            raise refusal(node, "its output has no fixed shape")
        return shape

    def dims_at(self, stage: int) -> Dims:
        """The dimensions of a stage's output, or of the input; of the input () until somebody reads it."""
        return self.in_dims if stage == INPUT else self.drafts[stage].dims

    def least(self, stage: int) -> float:
        """A bound of what a stage gives: 0 after a ReLU, and after pools of it, else minus infinity."""
        while stage != INPUT and self.drafts[stage].op == "pool":
            stage = self.drafts[stage].source
        return -inf if stage == INPUT else self.drafts[stage].low

    def take(self, node: onnx.NodeProto, view: View, dims: Dims) -> int:
        """The stage behind a view that is read in these dimensions, in order."""
        if view.stage == INPUT and not self.in_dims:
            self.in_dims = dims
        if view.order is not None or self.dims_at(view.stage) != dims:
            raise refusal(node, f"cells would need to be moved to be read as {'×'.join(map(str, dims))}")
        return view.stage

    def show(
        self, node: onnx.NodeProto, stage: int, order: Array | None = None, *, sole: bool = True
    ) -> None:
        """Let a node's output be a view of a stage."""
        name = node.output[0]
        sole = sole and self.graph.only_consumer(name) is not None
        self.views[name] = View(stage, self.shape_of(node), order, sole)

    def append(self, node: onnx.NodeProto, draft: Draft) -> int:
        """One more stage; gives its number."""
        for numbers in (draft.weights, draft.bias):
            self._size += 0 if numbers is None else numbers.size
        if self._size > MOST_WEIGHTS:
            raise refusal(node, f"the network would need more than {MOST_WEIGHTS} weights")
        self.drafts.append(draft)
        return len(self.drafts) - 1

    def reserve(self, node: onnx.NodeProto, *sizes: int) -> None:
        """Refuse before an array of these sizes is made."""
        if self._size + prod(sizes) > MOST_WEIGHTS:
            raise refusal(node, f"the network would need more than {MOST_WEIGHTS} weights")

    def same(self, node: onnx.NodeProto, view: View) -> int:
        """A further stage that hands on what a view shows, which must be in order."""
        dims = self.dims_at(view.stage) or dims_of(view.shape)
        count = dims[0] if len(dims) == 3 else dims[-1]
        self.reserve(node, count, count)
        stage = same(dims, self.take(node, view, dims), name_of(node))
        fields = ("name", "op", "dims", "source", "weights", "bias")
        return self.append(node, Draft(**{field: getattr(stage, field) for field in fields}))

    def open(self, node: onnx.NodeProto, view: View) -> int:
        """A stage that may still change without anybody else seeing it: the view's own, or one more."""
        if view.sole and view.stage != INPUT:
            return view.stage
        return self.same(node, view)


def refusal(node: onnx.NodeProto, why: str) -> Malformed:
    """The error (``model-unsupported``) that names a node and what D lacks for it."""
    return unsupported(f"the node {name_of(node)} ({node.op_type[:64]}): {why}")


def unsupported(what: str) -> Malformed:
    """The error (``model-unsupported``) of what cannot be proven."""
    return Malformed("model-unsupported", f"verinfer-sc/1 cannot prove {what}.")


def dims_of(shape: Shape) -> Dims:
    """A tensor's dimensions in D: without the one sample."""
    return tuple(shape[1:]) if len(shape) > 1 and shape[0] == 1 else tuple(shape)


def name_of(node: onnx.NodeProto) -> str:
    """What to call a node."""
    return str(node.name or node.output[0])[:64]
