"""Which axis of each tensor counts the samples, as long as no node mixes them.

Takes a model whose inputs have a first dimension of 1; gives the axis of each tensor that depends on an input, or None as soon as
one node mixes samples or is of a kind that is not known here. What only random inputs could show is no ground for a proof.
Source: ONNX operator schemas (broadcasting, axes and their defaults), domain ``ai.onnx``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import onnx

from .graph import Graph, Shape, attribute, optional_input

Axes = dict[str, int]
"""By tensor name; tensors without one are the same for all samples."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_UNARY = _names("""
    Abs Cast Ceil Celu Clip Cos Cosh Elu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu Log Neg Not Reciprocal Relu
    Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu
""")
_BROADCAST = _names("""
    Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mul Or PRelu Pow Sub Sum Where Xor
""")
_FIRST = _names("""
    AveragePool BatchNormalization Conv DepthToSpace GlobalAveragePool GlobalMaxPool InstanceNormalization MaxPool SpaceToDepth
""")
"""The first axis counts samples, by definition."""

_REDUCTIONS = _names("""
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
""")
RECURRENT = _names("GRU LSTM RNN")
_ONE_AXIS_SOFTMAX = 13
"""The opset since which Softmax works along one axis; before, along all from that one on."""


def sample_axes(graph: Graph, inputs: Sequence[str], outputs: Sequence[str]) -> Axes | None:
    """The axes of samples of all tensors, 0 for `inputs` and, or it is None, for `outputs`."""
    axes: Axes = dict.fromkeys(inputs, 0)
    for node in graph.nodes:
        if not any(name in axes for name in node.input):
            continue
        found = _follow(graph, node, axes)
        if found is None:
            return None
        for name in node.output:
            if name:
                axes[name] = found
        if node.op_type in RECURRENT and node.output[0]:
            # [length, directions, batch, hidden]; its last states lack the length.
            axes[node.output[0]] = 2
    return axes if all(axes.get(name) == 0 for name in outputs) else None


def _follow(graph: Graph, node: onnx.NodeProto, axes: Axes) -> int | None:
    """The axis of the node's outputs, or None."""
    kind, first = node.op_type, node.input[0]
    varying = [name for name in node.input if name in axes]
    if kind in _BROADCAST:
        return _broadcast(graph, node, axes)
    if kind == "MatMul":
        return _product(graph, node, axes)
    if kind == "Concat":
        return _joined(graph, node, axes)
    if kind == "Gather" and varying == [node.input[1]]:
        # Rows of a table, by index.
        return axes[varying[0]] if attribute(node, "axis", 0) == 0 else None
    if kind in RECURRENT:
        return 1 if _recurs(graph, node, axes) else None
    if varying != [first]:
        return None
    if kind in _UNARY:
        return axes[first]
    if kind in _FIRST:
        return 0 if axes[first] == 0 and len(node.output) == 1 else None
    moved = _MOVES.get(kind)
    shape = graph.shape(first)
    return None if moved is None or shape is None else moved(graph, node, shape, axes[first])


def _broadcast(graph: Graph, node: onnx.NodeProto, axes: Axes) -> int | None:
    shapes = {name: graph.shape(name) for name in node.input}
    if any(shape is None for shape in shapes.values()):
        return None
    known = {name: shape for name, shape in shapes.items() if shape is not None}
    behind = {len(known[name]) - axes[name] for name in node.input if name in axes}
    if len(behind) != 1:
        return None
    back = behind.pop()
    others = [shape for name, shape in known.items() if name not in axes]
    if any(len(shape) >= back and shape[-back] != 1 for shape in others):
        return None
    return max(map(len, known.values())) - back


def _product(graph: Graph, node: onnx.NodeProto, axes: Axes) -> int | None:
    left, right = (graph.shape(name) for name in node.input)
    if left is None or right is None or node.input[0] not in axes:
        return None
    axis = axes[node.input[0]]
    if node.input[1] not in axes:
        return axis if len(right) == 2 and len(left) >= 2 and axis <= len(left) - 2 else None
    same = len(left) == len(right) and axes[node.input[1]] == axis
    return axis if same and axis <= len(left) - 3 else None


def _joined(graph: Graph, node: onnx.NodeProto, axes: Axes) -> int | None:
    shape, axis = graph.shape(node.input[0]), axes.get(node.input[0])
    same = {axes.get(name) for name in node.input} == {axis}
    if shape is None or axis is None or not same:
        return None
    return axis if attribute(node, "axis", 0) % len(shape) != axis else None


def _recurs(graph: Graph, node: onnx.NodeProto, axes: Axes) -> bool:
    """Whether a recurrent node has its samples where they belong: [length, batch, width] in, nothing else but first states."""
    states = [name for name in node.input[5:7] if name]
    known = all(name in axes or graph.constant(name) is not None for name in states)
    places = {axes[name] for name in node.input if name in axes}
    alone = set(node.input[1:5]).isdisjoint(axes) and not optional_input(node, 4)
    return node.input[0] in axes and places == {1} and known and alone and not attribute(node, "layout", 0)


def _gemm(graph: Graph, node: onnx.NodeProto, _shape: Shape, axis: int) -> int | None:
    bias = graph.shape(optional_input(node, 2)) if optional_input(node, 2) else ()
    plain = bias is not None and (len(bias) < 2 or bias[0] == 1)
    return 0 if axis == 0 and plain and not attribute(node, "transA", 0) else None


def _normalised(graph: Graph, node: onnx.NodeProto, shape: Shape, axis: int) -> int | None:
    along = attribute(node, "axis", -1 if graph.opset >= _ONE_AXIS_SOFTMAX else 1) % len(shape)
    apart = along != axis if graph.opset >= _ONE_AXIS_SOFTMAX else axis < along
    return axis if apart else None


def _layer_norm(_graph: Graph, node: onnx.NodeProto, shape: Shape, axis: int) -> int | None:
    alone = len([name for name in node.output if name]) == 1
    return axis if alone and axis < attribute(node, "axis", -1) % len(shape) else None


def _reduced(graph: Graph, node: onnx.NodeProto, shape: Shape, axis: int) -> int | None:
    along = _along(graph, node, len(shape))
    return None if along is None else _without(along, axis, keep=attribute(node, "keepdims", 1))


def _squeezed(graph: Graph, node: onnx.NodeProto, shape: Shape, axis: int) -> int | None:
    along = _along(graph, node, len(shape))
    return None if along is None else _without(along, axis, keep=0)


def _unsqueezed(graph: Graph, node: onnx.NodeProto, shape: Shape, axis: int) -> int | None:
    given = _listed(graph, node, "axes", 1)
    if given is None:
        return None
    rank = len(shape) + len(given)
    new = {place % rank for place in given}
    if len(new) != len(given):
        return None
    return [place for place in range(rank) if place not in new][axis]


def _flattened(_graph: Graph, node: onnx.NodeProto, _shape: Shape, axis: int) -> int | None:
    return 0 if axis == 0 and attribute(node, "axis", 1) == 1 else None


def _transposed(_graph: Graph, node: onnx.NodeProto, shape: Shape, axis: int) -> int | None:
    order = list(attribute(node, "perm", range(len(shape) - 1, -1, -1)))
    return order.index(axis)


def _reshaped(graph: Graph, node: onnx.NodeProto, shape: Shape, axis: int) -> int | None:
    made = graph.shape(node.output[0])
    if made is None:
        return None
    places = [
        place for place, size in enumerate(made) if size == 1 and prod(made[:place]) == prod(shape[:axis])
    ]
    if axis == 0:
        return 0 if 0 in places else None
    # Another axis of size 1 beside it could be meant as well.
    return places[0] if len(places) == 1 else None


def _gathered(graph: Graph, node: onnx.NodeProto, shape: Shape, axis: int) -> int | None:
    index, along = graph.shape(node.input[1]), attribute(node, "axis", 0) % len(shape)
    if index is None or along == axis:
        return None
    return axis if axis < along else axis - 1 + len(index)


def _sliced(graph: Graph, node: onnx.NodeProto, shape: Shape, axis: int) -> int | None:
    starts = graph.constant(optional_input(node, 1))
    if starts is None:
        return None
    given = graph.constant(optional_input(node, 3)) if optional_input(node, 3) else range(starts.size)
    return None if given is None or axis in [int(place) % len(shape) for place in given] else axis


_Move = Callable[[Graph, onnx.NodeProto, Shape, int], int | None]
_MOVES: dict[str, _Move] = {
    "Flatten": _flattened,
    "Gather": _gathered,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _normalised,
    "Reshape": _reshaped,
    "Slice": _sliced,
    "Softmax": _normalised,
    "Squeeze": _squeezed,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
    **dict.fromkeys(_REDUCTIONS, _reduced),
}
"""Nodes whose first input alone depends on the sample: where its axis is afterwards."""


def _along(graph: Graph, node: onnx.NodeProto, rank: int) -> list[int] | None:
    """The axes that a node works along, or None if it names none, or only when it runs."""
    given = _listed(graph, node, "axes", 1)
    return None if not given else [place % rank for place in given]


def _listed(graph: Graph, node: onnx.NodeProto, name: str, place: int) -> list[int] | None:
    """A list that older operator sets have as an attribute and newer ones as a constant input."""
    if (given := attribute(node, name, None)) is not None:
        return list(given)
    constant = graph.constant(optional_input(node, place)) if optional_input(node, place) else None
    return None if constant is None else [int(item) for item in constant.ravel()]


def _without(along: Sequence[int], axis: int, *, keep: int) -> int | None:
    if axis in along or len(set(along)) != len(along):
        return None
    return axis if keep else axis - sum(place < axis for place in along)
