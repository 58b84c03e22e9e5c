"""Reads a network as stages that D can express; runs inside a limited child.

Takes a file that `_onnx` has inspected, folded and written; gives the stages, or refuses with the name of the node that D lacks.
Source: ONNX operator specifications, domain ``ai.onnx``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from ..rewrite.graph import Graph, Shape, attribute, optional_input
from ..rewrite.windows import pads
from ._drafts import Draft, Drafts, View, dims_of, name_of, refusal, unsupported
from .description import Dims
from .geometry import MOST_SIDE, Axis, dense, embed, square
from .network import INPUT, Reals

_NEEDS = {
    "MaxPool": "selectors for a maximum, which verinfer-sc/1 does not have; an AveragePool can be proven",
    "GlobalMaxPool": "selectors for a maximum, which verinfer-sc/1 does not have; a GlobalAveragePool can be proven",
    "Softmax": "exponentials and a division; leave it to whoever reads the scores (--cut-head)",
    "LogSoftmax": "exponentials and a division; leave it to whoever reads the scores (--cut-head)",
    "ArgMax": "a comparison of outputs; leave it to whoever reads the scores (--cut-head)",
    **dict.fromkeys(
        [
            "Sigmoid",
            "Tanh",
            "Erf",
            "Elu",
            "Selu",
            "LeakyRelu",
            "HardSigmoid",
            "HardSwish",
            "Exp",
            "Sqrt",
            "Pow",
        ],
        "tables of functions, which verinfer-sc/1 does not have; a Relu can be proven",
    ),
}


def read(*, model: str, output: str) -> dict[str, Any]:
    """The stages of a model as plain values, in-dimensions included; their numbers go to the file `output`, see `read_network`.

    Raises `Malformed` (``model-unsupported``) with the node's name.
    """
    loaded = onnx.load_model_from_string(Path(model).read_bytes())
    initialised = {tensor.name for tensor in loaded.graph.initializer}
    inputs = [value.name for value in loaded.graph.input if value.name not in initialised]
    outputs = [value.name for value in loaded.graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        raise unsupported("a network with several inputs or outputs")
    graph = Graph(loaded)
    if any(graph.kind(name) != TensorProto.FLOAT for name in (*inputs, *outputs)):
        raise unsupported("a network whose input and output are not of FP32")
    net = Drafts(graph)
    stages = _Reading(net).stages(inputs[0], outputs[0])
    with Path(output).open("wb") as file:
        for stage in stages:
            for numbers in (stage.weights, stage.bias):
                if numbers is not None:
                    file.write(np.ascontiguousarray(numbers, "<f8").tobytes())
    return {"in_dims": list(net.in_dims), "stages": [_plain(stage) for stage in stages]}


def _plain(stage: Draft) -> dict[str, Any]:
    names = ("name", "op", "source", "k", "stride", "pad", "add")
    return {
        **{name: getattr(stage, name) for name in names},
        "dims": list(stage.dims),
        "low": repr(stage.low),
        "high": repr(stage.high),
        "shape": None if stage.weights is None else list(stage.weights.shape),
    }


class _Reading:
    """What each operator does to the stages so far."""

    def __init__(self, net: Drafts) -> None:
        self._net = net
        self._handlers: dict[str, Callable[[onnx.NodeProto], None]] = {
            "Conv": self._conv,
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "AveragePool": self._average,
            "GlobalAveragePool": self._average,
            "ReduceMean": self._mean,
            "Relu": self._clip,
            "Clip": self._clip,
            "Add": self._add,
            "Sub": self._affine,
            "Mul": self._affine,
            "Div": self._affine,
            "Concat": self._concat,
            "Transpose": self._move,
            **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity"), self._move),
        }

    def stages(self, given: str, out: str) -> list[Draft]:
        """All stages from the input to the output; the last one gives it unclipped, with weights, in order."""
        shape = self._net.graph.shape(given)
        assert shape is not None  # `_onnx` refuses models with others
        self._net.views[given] = View(INPUT, shape, None, self._net.graph.only_consumer(given) is not None)
        last = None
        for node in self._alive(out):
            handler = self._handlers.get(node.op_type)
            if handler is None:
                need = _NEEDS.get(node.op_type, "an operation that verinfer-sc/1 does not have")
                raise refusal(node, f"it would need {need}")
            handler(node)
            last = node
        view = self._net.views.get(out)
        if last is None or view is None or view.stage == INPUT:
            raise unsupported("a network without weights")
        if view.order is not None:
            raise refusal(last, "outputs would need to be moved after the last layer")
        draft = self._net.drafts[view.stage]
        if draft.clipped or draft.weights is None or view.stage != len(self._net.drafts) - 1:
            self._net.same(last, view)
        return self._net.drafts

    def _alive(self, out: str) -> list[onnx.NodeProto]:
        wanted, alive = {out}, []
        for node in reversed(self._net.graph.nodes):
            if wanted.intersection(node.output) and self._net.graph.constant(node.output[0]) is None:
                alive.append(node)
                wanted.update(node.input)
        return alive[::-1]

    # layers

    def _conv(self, node: onnx.NodeProto) -> None:
        view, kernel = self._net.view(node), self._net.constant(node, 1)
        if kernel.ndim != 4 or len(view.shape) != 4 or view.shape[0] != 1:
            raise refusal(node, "only convolutions of one image over two axes can be proven")
        groups = attribute(node, "group", 1)
        bias = self._net.constant(node, 2) if optional_input(node, 2) else np.zeros(len(kernel))
        self._net.reserve(node, len(kernel), view.shape[1], *kernel.shape[2:])
        self._convolve(node, view, dense(kernel, groups), bias.ravel())

    def _convolve(self, node: onnx.NodeProto, view: View, kernel: Reals, bias: Reals) -> None:
        strides = attribute(node, "strides", [1, 1])
        axes = self._axes(node, view.shape, kernel.shape[2:], strides)
        # Along an axis with one output there is no step.
        steps = {step for step, axis in zip(strides, axes, strict=True) if axis.out > 1} or {1}
        stride = steps.pop()
        inside = None if steps else square(axes, stride)
        if inside is None:
            raise refusal(
                node, f"its kernel has no square form of at most {MOST_SIDE} with one padding and one stride"
            )
        self._net.reserve(node, *kernel.shape[:2], inside.k, inside.k)
        draft = Draft(
            name=name_of(node),
            op="conv",
            dims=(len(kernel), *(axis.out for axis in axes)),
            source=self._net.take(node, view, dims_of(view.shape)),
            k=inside.k,
            stride=stride,
            pad=inside.pad,
            weights=embed(kernel, axes, inside),
            bias=bias,
        )
        self._net.show(node, self._net.append(node, draft))

    def _axes(self, node: onnx.NodeProto, given: Shape, kernel: Shape, strides: list[int]) -> list[Axis]:
        dilations = attribute(node, "dilations", [1, 1])
        spans = [step * (taps - 1) + 1 for step, taps in zip(dilations, kernel, strict=True)]
        edges = pads(node, given[2:], strides, spans)
        if edges is None:
            raise refusal(node, "its padding has no known form")
        out = self._net.shape_of(node)[2:] or (1, 1)
        rows = zip(given[2:], out, kernel, dilations, edges, strict=True)
        axes = [Axis(size, count, taps, step, begin) for size, count, taps, step, (begin, _) in rows]
        reached = zip(axes, edges, strides, strict=True)
        if any((axis.size + sum(edge) - axis.span) // step + 1 != axis.out for axis, edge, step in reached):
            raise refusal(node, "its last windows reach beyond the padding (ceil_mode)")
        return axes

    def _average(self, node: onnx.NodeProto) -> None:
        view = self._net.view(node)
        if len(view.shape) != 4 or view.shape[0] != 1:
            raise refusal(node, "only means over the two axes of one image can be proven")
        window = tuple(attribute(node, "kernel_shape", view.shape[2:]))
        strides = attribute(node, "strides", [1, 1]) if node.op_type == "AveragePool" else list(window)
        self._pool(node, view, window, strides)

    def _mean(self, node: onnx.NodeProto) -> None:
        view = self._net.view(node)
        axes = self._net.graph.constant(optional_input(node, 1))
        wanted = attribute(node, "axes", []) if axes is None else axes.tolist()
        if len(view.shape) != 4 or view.shape[0] != 1 or sorted(axis % 4 for axis in wanted) != [2, 3]:
            raise refusal(node, "only means over the two axes of one image can be proven")
        self._pool(node, view, view.shape[2:], list(view.shape[2:]))

    def _pool(self, node: onnx.NodeProto, view: View, window: Shape, strides: list[int]) -> None:
        dims = dims_of(view.shape)
        shape = self._net.shape_of(node)
        k, whole = window[0], tuple(size // window[0] for size in dims[1:])
        sizes = shape[2:] or (1, 1)
        edges = pads(node, view.shape[2:], strides, list(window)) or [(1, 1)]
        plain = all(pair == (0, 0) for pair in edges) and attribute(node, "dilations", [1, 1]) == [1, 1]
        if plain and window == (k, k) and strides == [k, k] and whole == sizes and 1 < k <= MOST_SIDE:
            source = self._net.take(node, view, dims)
            draft = Draft(name=name_of(node), op="pool", dims=(dims[0], *whole), source=source, k=k)
            self._net.show(node, self._net.append(node, draft))
            return
        if not (plain or attribute(node, "count_include_pad", 0)):
            raise refusal(node, "its windows hold different numbers of cells")
        channels = dims[0]
        self._net.reserve(node, channels, channels, *window)
        kernel = dense(np.full((channels, 1, *window), 1 / prod(window)), channels)
        self._convolve(node, view, kernel, np.zeros(channels))

    def _gemm(self, node: onnx.NodeProto) -> None:
        if attribute(node, "transA", 0):
            raise refusal(node, "it would need a transposed activation")
        right = self._net.constant(node, 1) * attribute(node, "alpha", 1.0)
        weights = right if attribute(node, "transB", 0) else right.T
        bias = np.zeros(1)
        if optional_input(node, 2):
            bias = self._net.constant(node, 2) * attribute(node, "beta", 1.0)
        self._product(node, weights, bias)

    def _matmul(self, node: onnx.NodeProto) -> None:
        if self._net.graph.constant(node.input[0]) is not None:
            raise refusal(node, "it would need a matrix of weights on the left")
        right = self._net.constant(node, 1)
        if right.ndim != 2:
            raise refusal(node, "only products with one matrix can be proven")
        self._product(node, right.T, np.zeros(1))

    def _product(self, node: onnx.NodeProto, weights: Reals, bias: Reals) -> None:
        if bias.size not in (1, len(weights)) or (bias.ndim == 2 and len(bias) > 1):
            raise refusal(node, "it would need another bias for each row")
        term = np.broadcast_to(bias.ravel(), (len(weights),)).copy()
        self._net.show(node, self._net.append(node, self._rows(node, self._net.view(node), weights, term)))

    def _rows(self, node: onnx.NodeProto, view: View, weights: Reals, bias: Reals) -> Draft:
        """Each row of a view times the weights."""
        rows, length = prod(view.shape[:-1]), weights.shape[1]
        if rows > 1:
            return Draft(
                name=name_of(node),
                op="linear",
                dims=(rows, len(weights)),
                source=self._net.take(node, view, (rows, length)),
                weights=weights,
                bias=bias,
            )
        if view.stage == INPUT and not self._net.in_dims:
            self._net.in_dims = (length,)
        if view.order is not None:
            # Weight i meets the cell that stands at place i.
            moved = np.zeros_like(weights)
            moved[:, view.order] = weights
            weights = moved
        return Draft(
            name=name_of(node),
            op="gemm",
            dims=(len(weights),),
            source=view.stage,
            weights=weights,
            bias=bias,
        )

    def _concat(self, node: onnx.NodeProto) -> None:
        """Channels side by side: each part is moved to its own by weights of 0 and 1, and added to the parts before it."""
        views, shape = (
            [self._net.view(node, index) for index in range(len(node.input))],
            self._net.shape_of(node),
        )
        channels = 1 if len(shape) == 4 else len(shape) - 1
        if attribute(node, "axis", 0) % len(shape) != channels:
            raise refusal(node, "only channels, or numbers of a row, can be put side by side")
        start, before = 0, None
        # Where no part is below zero none is clipped at it, and none needs a sign.
        low = min(self._net.least(view.stage) for view in views)
        for view in views:
            total, count = shape[channels], view.shape[channels]
            self._net.reserve(node, total, count)
            weights, bias = np.eye(total, count, -start), np.zeros(total)
            draft = (
                self._pixels(node, view, weights, bias)
                if len(shape) == 4
                else self._rows(node, view, weights, bias)
            )
            draft.add, draft.low = before, low
            before, start = self._net.append(node, draft), start + count
        assert before is not None  # a Concat has an input
        self._net.show(node, before)

    def _pixels(self, node: onnx.NodeProto, view: View, weights: Reals, bias: Reals) -> Draft:
        """The channels of each cell of an image times the weights."""
        return Draft(
            name=name_of(node),
            op="conv",
            dims=(len(weights), *view.shape[2:]),
            source=self._net.take(node, view, dims_of(view.shape)),
            weights=weights[:, :, None, None],
            bias=bias,
        )

    # what goes into the layer before

    def _clip(self, node: onnx.NodeProto) -> None:
        low, high = 0.0, inf
        if node.op_type == "Clip":
            ends = [attribute(node, "min", -inf), attribute(node, "max", inf)]
            for index in (1, 2):
                if optional_input(node, index):
                    ends[index - 1] = float(self._net.constant(node, index).ravel()[0])
            low, high = ends
        if low != 0 or high <= 0:
            raise refusal(node, "only clips from 0 up can be proven")
        view = self._net.view(node)
        stage = self._net.open(node, view)
        draft = self._net.drafts[stage]
        draft.low, draft.high = max(draft.low, low), min(draft.high, high)
        self._net.show(node, stage, view.order)

    def _affine(self, node: onnx.NodeProto) -> None:
        """A factor or a term for each channel."""
        first = optional_input(node, 0) in self._net.views
        if not first and node.op_type == "Div":
            raise refusal(node, "it would need a division by an activation")
        view, value = self._net.view(node, 0 if first else 1), self._net.constant(node, 1 if first else 0)
        if len(self._net.shape_of(node)) != len(view.shape) or self._net.shape_of(node) != view.shape:
            raise refusal(node, "it would need a tensor that is repeated")
        factor, term = np.ones(1), np.zeros(1)
        if node.op_type == "Mul":
            factor = value
        elif node.op_type == "Div":
            with np.errstate(divide="ignore"):
                factor = 1 / value
        else:
            term = -value if node.op_type == "Sub" and first else value
            factor = np.ones(1) if first or node.op_type == "Add" else -np.ones(1)
        stage = self._net.open(node, view)
        if (
            self._net.drafts[stage].clipped
            or self._net.drafts[stage].add is not None
            or self._net.drafts[stage].weights is None
        ):
            stage = self._net.same(node, view)
        draft = self._net.drafts[stage]
        dims = draft.dims
        if view.order is not None or dims_of(view.shape) != dims:
            raise refusal(node, "it would need a factor or a term for each cell")
        factors, terms = (self._by_channel(node, item, view.shape, dims) for item in (factor, term))
        assert draft.weights is not None
        assert draft.bias is not None
        draft.weights = draft.weights * factors.reshape(-1, *[1] * (draft.weights.ndim - 1))
        draft.bias = draft.bias * factors + terms
        self._net.show(node, stage)

    def _by_channel(self, node: onnx.NodeProto, value: Reals, shape: Shape, dims: Dims) -> Reals:
        whole = np.broadcast_to(value, shape).reshape(dims)
        rows = whole.reshape(dims[0], -1) if len(dims) == 3 else whole.reshape(-1, dims[-1]).T
        if (rows != rows[:, :1]).any() or not np.isfinite(rows).all():
            raise refusal(node, "it would need a factor or a term for each cell")
        return rows[:, 0].copy()

    def _add(self, node: onnx.NodeProto) -> None:
        if any(name not in self._net.views for name in node.input):
            self._affine(node)
            return
        one, other = sorted((self._net.view(node, 0), self._net.view(node, 1)), key=lambda view: view.stage)
        if one.shape != other.shape or one.order is not None or other.order is not None:
            raise refusal(node, "it would need tensors that are repeated or moved before they are added")
        stage = self._net.open(node, other)
        draft = self._net.drafts[stage]
        if draft.clipped or draft.add is not None or draft.weights is None or one.stage == stage:
            stage = self._net.same(node, other)
        self._net.drafts[stage].add = self._net.take(node, one, self._net.drafts[stage].dims)
        self._net.show(node, stage)

    def _move(self, node: onnx.NodeProto) -> None:
        view = self._net.view(node)
        order = view.order
        if node.op_type == "Transpose":
            cells = np.arange(prod(view.shape)) if order is None else order
            turned = cells.reshape(view.shape).transpose(attribute(node, "perm", None)).ravel()
            order = None if (turned == np.arange(turned.size)).all() else turned
        self._net.show(node, view.stage, order, sole=view.sole)
