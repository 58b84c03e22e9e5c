"""A network of one sample as a network of several, whose inputs and outputs have a row for each.

Takes a plain model whose inputs and outputs all have a first dimension of 1.
Where every node keeps samples apart (`sample_axis`), the same nodes work on longer tensors: weights are shared, and a product has
more rows. Else the network is there once for each sample, and only what all circuits have is shared.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from . import fold
from .derived import derive
from .graph import Graph
from .sample_axis import RECURRENT, Axes, sample_axes

_STATES = (5, 6)
"""The inputs of a recurrent node that hold its first states: one for each direction and sample."""

_MANY = 7919
"""A number of samples that no other size is a multiple of: where it turns up, samples are counted."""


def batch(model: onnx.ModelProto, count: int, most_nodes: int) -> onnx.ModelProto:
    """The network for `count` samples; raises ValueError where a tensor has no row to repeat, or nodes would be too many."""
    inputs, outputs = _inputs(model), list(model.graph.output)
    for value in (*inputs, *outputs):
        if _shape(value)[:1] != (1,):
            raise ValueError(f"{value.name} has the shape {_shape(value)}, whose first dimension is not 1")
    # Sizes that nodes work out are constants afterwards.
    model = fold.apply(model)
    axes = sample_axes(Graph(model), [value.name for value in inputs], [value.name for value in outputs])
    if axes is not None and _is_right(model, axes):
        return _widened(model, axes, count)
    return _repeated(model, count, most_nodes)


def _is_right(model: onnx.ModelProto, axes: Axes) -> bool:
    """Whether ONNX's own inference, too, finds the number of samples at each tensor's axis of samples and nowhere else."""
    graph = Graph(model)
    try:
        found = derive(_widened(model, axes, _MANY))
    except onnx.shape_inference.InferenceError:
        return False
    shapes = {value.name: _shape(value) for value in (*found.input, *found.value_info, *found.output)}

    def wanted(name: str, axis: int) -> tuple[int, ...] | None:
        shape = graph.shape(name)
        return None if shape is None else (*shape[:axis], _MANY, *shape[axis + 1 :])

    return all(shapes.get(name) == wanted(name, axis) for name, axis in axes.items())


def _widened(model: onnx.ModelProto, axes: Axes, count: int) -> onnx.ModelProto:
    """The same nodes, with `count` for 1 wherever a constant says how long the axis of samples is."""
    graph, made = Graph(model), _copy(model)
    constants = made.graph.initializer
    for node in made.graph.node:
        if node.op_type == "Reshape" and node.input[0] in axes:
            shape, axis = graph.shape(node.output[0]), axes[node.output[0]]
            assert shape is not None
            longer = np.array([*shape[:axis], count, *shape[axis + 1 :]], np.int64)
            constants.append(numpy_helper.from_array(longer, graph.fresh(f"{node.output[0]}.sizes")))
            node.input[1] = constants[-1].name
            del node.attribute[:]
        if node.op_type in RECURRENT and node.input[0] in axes:
            for place in _STATES:
                state = graph.constant(node.input[place]) if place < len(node.input) else None
                if state is not None:
                    rows = np.repeat(state, count, axis=1)
                    constants.append(numpy_helper.from_array(rows, graph.fresh(f"{node.input[place]}.rows")))
                    node.input[place] = constants[-1].name
    return _with_rows(made, count)


def _repeated(model: onnx.ModelProto, count: int, most_nodes: int) -> onnx.ModelProto:
    """The network `count` times, each on its row; what depends on no input is shared."""
    graph = Graph(model)
    inputs, outputs = ([value.name for value in many] for many in (_inputs(model), model.graph.output))
    varying = set(inputs)
    for node in model.graph.node:
        if varying.intersection(node.input):
            varying.update(name for name in node.output if name)
    for name in outputs:
        if name not in varying:
            raise ValueError(f"{name} depends on no input")
    own = [node for node in model.graph.node if varying.intersection(node.input)]
    size = count * (len(own) + len(inputs)) + len(model.graph.node) - len(own) + len(outputs)
    if size > most_nodes:
        raise ValueError(f"it would take {size} nodes, more than {most_nodes}; take a smaller batch")
    made = _copy(model)
    del made.graph.node[:]
    made.graph.node.extend(node for node in model.graph.node if not varying.intersection(node.input))
    parts: dict[str, list[str]] = {name: [] for name in outputs}
    for number in range(count):
        names = {name: graph.fresh(f"{name}.{number}") for name in sorted(varying)}
        place = numpy_helper.from_array(np.array([number], np.int64), graph.fresh(f"sample.{number}"))
        made.graph.initializer.append(place)
        made.graph.node.extend(
            helper.make_node("Gather", [name, place.name], [names[name]], axis=0) for name in inputs
        )
        made.graph.node.extend(_renamed(node, names, number) for node in own)
        for name in outputs:
            parts[name].append(names[name])
    made.graph.node.extend(helper.make_node("Concat", parts[name], [name], axis=0) for name in outputs)
    return _with_rows(made, count)


def _renamed(node: onnx.NodeProto, names: dict[str, str], number: int) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    copied.name = f"{node.name}.{number}" if node.name else ""
    copied.input[:] = [names.get(name, name) for name in node.input]
    copied.output[:] = [names.get(name, name) for name in node.output]
    return copied


def _with_rows(made: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """Inputs and outputs of so many rows; shapes inside are left to be inferred again."""
    for value in (*_inputs(made), *made.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = count
    del made.graph.value_info[:]
    return made


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    initialised = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in initialised]


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
