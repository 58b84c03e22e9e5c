"""Chains of nodes that only move numbers become one Gather of the flat tensor, or nothing.

Each moved tensor is followed back to where its numbers were computed: an index per element, a negative one for a constant.
The nodes compute the indices themselves, by being run on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx
from onnx import TensorProto

from .evaluate import evaluate
from .graph import Array, Graph, attribute, optional_input, rewrite_nodes

MOST_INDICES = 1 << 21
"""A tensor with more elements is not followed."""
_MOVING = {
    *(
        "Identity",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Gather",
        "GatherElements",
        "GatherND",
    ),
    *("Slice", "Split", "Expand", "Tile", "Concat", "Pad", "DepthToSpace", "SpaceToDepth"),
}


@dataclass(frozen=True, slots=True)
class View:
    """A tensor as elements of another's flat form; ``-1 - n`` is the n-th constant. `nodes`: how many it takes now."""

    source: str
    index: Array
    nodes: int


@dataclass(frozen=True, slots=True)
class Views:
    """What is known while going through a graph; `constants` gives each constant its number."""

    known: dict[str, View] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    constants: dict[float, int] = field(default_factory=dict)

    def code(self, values: Array) -> Array:
        """The index of each constant."""
        found = [self.constants.setdefault(float(value), len(self.constants)) for value in values.ravel()]
        return (-1 - np.array(found, dtype=np.int64)).reshape(values.shape)


def apply(model: onnx.ModelProto) -> onnx.ModelProto:
    """Shorten every chain that can be shorter."""
    views = Views()
    return rewrite_nodes(model, lambda graph, node: _visit(graph, node, views))


def _visit(graph: Graph, node: onnx.NodeProto, views: Views) -> bool:
    if _follow(graph, node, views):
        name = node.output[0]
        if name not in graph.outputs or len(node.output) > 1 or not _can_shorten(graph, name, views):
            return False
        _write(graph, name, name, views)
        return True
    replaced = False
    for position, name in enumerate(node.input):
        if _can_shorten(graph, name, views):
            if name not in views.written:
                views.written[name] = _write(graph, name, graph.fresh(f"{name}.moved"), views)
            node.input[position] = views.written[name]
            replaced = True
    if replaced:
        graph.keep(node)
    return replaced


def _follow(graph: Graph, node: onnx.NodeProto, views: Views) -> bool:
    """Note what the node's outputs are made of; False for a node that does more than move one tensor's numbers."""
    if node.op_type not in _MOVING or graph.opset < 11:
        return False
    variable = {name for name in node.input if name and graph.constant(name) is None}
    origins = {views.known[name].source if name in views.known else name for name in variable}
    sizes = [graph.shape(name) for name in (*origins, *variable, *node.output)]
    if len(origins) != 1 or any(size is None or prod(size) > MOST_INDICES for size in sizes):
        return False
    if node.op_type != "Concat" and (node.input[0] not in variable or len(variable) > 1):
        return False
    source = origins.pop()
    if node.op_type in ("Concat", "Pad") and graph.kind(source) != TensorProto.FLOAT:
        return False
    run, values = _on_indices(graph, node, source, views)
    results = evaluate(run, values, graph.opset)
    if results is None:
        return False
    nodes = 1 + max(views.known[name].nodes if name in views.known else 0 for name in variable)
    for name, index in zip(node.output, results, strict=True):
        views.known[name] = View(source, index, nodes)
    return True


def _on_indices(
    graph: Graph, node: onnx.NodeProto, source: str, views: Views
) -> tuple[onnx.NodeProto, list[Array | None]]:
    """The node and its inputs, where numbers are replaced by their indices."""
    run = onnx.NodeProto()
    run.CopyFrom(node)
    filled = node.op_type == "Pad" and attribute(node, "mode", "constant") == "constant"
    if filled and not optional_input(node, 2):
        del run.input[2:3]
        run.input.insert(2, "filling")
    values: list[Array | None] = []
    for position, name in enumerate(run.input):
        constant = graph.constant(name)
        if filled and position == 2:
            values.append(views.code(np.array(0.0) if constant is None else constant))
        elif node.op_type == "Concat" and constant is not None:
            values.append(views.code(constant))
        elif name and constant is None:
            shape = graph.shape(source) or ()
            view = views.known.get(name)
            values.append(np.arange(prod(shape)).reshape(shape) if view is None else view.index)
        else:
            values.append(constant)
    return run, values


def _is_plain(graph: Graph, view: View) -> bool:
    size = prod(graph.shape(view.source) or ())
    return bool(view.index.size == size and (view.index.ravel() == np.arange(size)).all())


def _can_shorten(graph: Graph, name: str, views: Views) -> bool:
    view = views.known.get(name)
    if view is None:
        return False
    shape = graph.shape(view.source) or ()
    if _is_plain(graph, view):
        return view.nodes > (view.index.shape != shape or name in graph.outputs)
    return view.nodes > 1 + (len(shape) != 1) + bool((view.index < 0).any())


def _write(graph: Graph, name: str, out: str, views: Views) -> str:
    """Write the shortest chain that makes this tensor; gives the name of its result."""
    view = views.known[name]
    shape = graph.shape(view.source) or ()
    if _is_plain(graph, view):
        if view.index.shape != shape:
            return graph.reshape(view.source, view.index.shape, out)
        return graph.emit("Identity", [view.source], out) if out == name else view.source
    size, flat = prod(shape), view.source
    if len(shape) != 1:
        flat = graph.reshape(flat, (size,), graph.fresh(f"{out}.flat"))
    index, used = view.index, sorted({-1 - code for code in view.index.ravel().tolist() if code < 0})
    if used:
        values = list(views.constants)
        filling = graph.new_constant(np.array([values[code] for code in used], np.float32), f"{out}.filling")
        flat = graph.emit("Concat", [flat, filling], graph.fresh(f"{out}.filled"), axis=0)
        places = size + np.searchsorted(used, np.maximum(-1 - index, 0))
        index = np.where(index < 0, places, index)
    where = graph.new_constant(index.astype(np.int64), f"{out}.index")
    return graph.emit("Gather", [flat, where], out, axis=0)
