"""A network of one sample as a network of several, whose inputs and outputs have a row for each.

Takes a plain model whose inputs and outputs all have a first dimension of 1.
Where every node keeps samples apart (`rows`), the same nodes work on longer tensors: weights are shared, and a product has more
rows. Else the network is there once for each sample, and only what all circuits have is shared.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from . import fold
from .graph import Graph
from .rows import RECURRENT, Axes, sample_axes

_STATES = (5, 6)
"""The inputs of a recurrent node that hold its first states: one for each direction and sample."""


def batch(model: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """The network for `count` samples; raises ValueError where a tensor has no row to repeat."""
    inputs, outputs = _inputs(model), list(model.graph.output)
    for value in (*inputs, *outputs):
        if _shape(value)[:1] != [1]:
            raise ValueError(f"{value.name} has the shape {_shape(value)}, whose first dimension is not 1")
    # Sizes that nodes work out are constants afterwards.
    model = fold.apply(model)
    graph = Graph(model)
    axes = sample_axes(graph, [value.name for value in inputs], [value.name for value in outputs])
    made = _repeated(model, count) if axes is None else _widened(model, graph, axes, count)
    for value in (*_inputs(made), *made.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = count
    del made.graph.value_info[:]
    return made


def _widened(model: onnx.ModelProto, graph: Graph, axes: Axes, count: int) -> onnx.ModelProto:
    """The same nodes, with `count` for 1 wherever a constant says how long the axis of samples is."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    constants = made.graph.initializer
    for node in made.graph.node:
        if node.op_type == "Reshape" and node.input[0] in axes:
            sizes, axis = graph.constant(node.input[1]), axes[node.output[0]]
            assert sizes is not None
            if sizes[axis] == 1:
                longer = np.array([*sizes[:axis], count, *sizes[axis + 1 :]], np.int64)
                name = graph.fresh(f"{node.output[0]}.sizes")
                constants.append(numpy_helper.from_array(longer, name))
                node.input[1] = name
        if node.op_type in RECURRENT and node.input[0] in axes:
            for place in _STATES:
                state = graph.constant(node.input[place]) if place < len(node.input) else None
                if state is not None:
                    name = graph.fresh(f"{node.input[place]}.rows")
                    constants.append(numpy_helper.from_array(np.repeat(state, count, axis=1), name))
                    node.input[place] = name
    return made


def _repeated(model: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """The network `count` times, each on its row; constants are shared."""
    graph, inputs = model.graph, {value.name for value in _inputs(model)}
    varying = set(inputs)
    for node in graph.node:
        if varying.intersection(node.input):
            varying.update(node.output)
    fixed = [node for node in graph.node if varying.isdisjoint(node.input)]
    own = [node for node in graph.node if not varying.isdisjoint(node.input)]
    nodes, places = list(fixed), []
    for number in range(count):
        places.append(numpy_helper.from_array(np.array([number], np.int64), f"sample/{number}"))
        nodes += [
            helper.make_node("Gather", [name, places[-1].name], [_of(number, name)], axis=0)
            for name in sorted(inputs)
        ]
        nodes += [_copied(node, number, varying) for node in own]
    nodes += [
        helper.make_node("Concat", [_of(number, value.name) for number in range(count)], [value.name], axis=0)
        for value in graph.output
    ]
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(places)
    return made


def _copied(node: onnx.NodeProto, number: int, varying: set[str]) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    copied.name = _of(number, node.name) if node.name else ""
    copied.input[:] = [_of(number, name) if name in varying else name for name in node.input]
    copied.output[:] = [_of(number, name) if name else "" for name in node.output]
    return copied


def _of(number: int, name: str) -> str:
    """The name of a tensor or node of one sample."""
    return f"sample/{number}/{name}"


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    initialised = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in initialised]


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]
