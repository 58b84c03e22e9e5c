"""A model as a rule reads and rewrites it: constants, shapes, who makes and who uses a tensor, and new nodes.

Takes a model with static shapes; gives a copy in which some nodes are replaced, or the same object if none is.
Source: ONNX IR specification (a graph's nodes are in topological order, each tensor has one maker).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from .derived import derive

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]

MOST_NUMBERS = 1 << 24
"""What the constants of a model may hold together; more is refused when the rewritten model is read again."""
_BROADCASTS = 7
"""The opset since which Add and Mul broadcast by shape alone; older graphs are left as they are."""


class Graph:
    """The graph being read (`nodes`, `shape`, `constant`, `consumers`) and the one being written (`emit`, `keep`)."""

    def __init__(self, model: onnx.ModelProto) -> None:
        inferred = derive(model)
        self._model = model
        self.opset = next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
        self.nodes: list[onnx.NodeProto] = [_copy(node) for node in model.graph.node]
        self.outputs = {value.name for value in model.graph.output}
        self._shapes = {
            value.name: shape
            for value in (*inferred.input, *inferred.value_info, *inferred.output)
            if (shape := _static(value)) is not None
        }
        self._kinds: dict[str, int] = {
            value.name: value.type.tensor_type.elem_type
            for value in (*inferred.input, *inferred.value_info, *inferred.output)
        }
        self._constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
        self._constants |= {
            node.output[0]: value for node in self.nodes if (value := _constant_node(node)) is not None
        }
        self._producers = {name: node for node in self.nodes for name in node.output if name}
        self._uses: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._uses.setdefault(name, []).append(node)
        self._names = {*self._shapes, *self._constants, *self._producers, *self._uses}
        self._written: list[onnx.NodeProto] = []
        self._skipped: set[int] = set()
        self._made: dict[str, Array] = {}

    def shape(self, name: str) -> Shape | None:
        """The static shape of a tensor of the graph being read, or None where inference finds none."""
        constant = self.constant(name)
        return self._shapes.get(name) if constant is None else constant.shape

    def kind(self, name: str) -> int:
        """The element type of a tensor that is no initializer (`onnx.TensorProto.DataType`), 0 if unknown."""
        return self._kinds.get(name, 0)

    def constant(self, name: str) -> Array | None:
        """The value of an initializer or of a ``Constant`` node, or None."""
        found = self._made.get(name)
        return self._constants.get(name) if found is None else found

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, or None for inputs and initializers."""
        return self._producers.get(name)

    def consumers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that use a tensor, each once for each time it does."""
        return self._uses.get(name, [])

    def only_consumer(self, name: str) -> onnx.NodeProto | None:
        """The one node that uses a tensor, once, and nobody outside sees it; else None."""
        uses = self._uses.get(name, [])
        return uses[0] if len(uses) == 1 and name not in self.outputs else None

    def fresh(self, hint: str) -> str:
        """A tensor name that nobody has."""
        name, number = hint, 0
        while name in self._names:
            number += 1
            name = f"{hint}_{number}"
        self._names.add(name)
        return name

    def new_constant(self, value: npt.ArrayLike, hint: str) -> str:
        """A new initializer with this value; gives its name."""
        name = self.fresh(hint)
        self._made[name] = np.ascontiguousarray(value).reshape(np.shape(value))
        return name

    def has_room(self, size: int) -> bool:
        """Whether so many further numbers leave the model within what one may hold; a rule asks before it writes indices."""
        held = (*self._constants.values(), *self._made.values())
        return sum(value.size for value in held) + size <= MOST_NUMBERS

    def emit(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Write a node whose result is called `output`; gives that name."""
        self._written.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def reshape(self, name: str, shape: Shape, output: str) -> str:
        """Write a ``Reshape`` to a static shape."""
        return self.emit(
            "Reshape", [name, self.new_constant(np.array(shape, dtype=np.int64), f"{output}.shape")], output
        )

    def keep(self, node: onnx.NodeProto) -> None:
        """Write a node as it is."""
        self._written.append(node)

    def skip(self, node: onnx.NodeProto) -> None:
        """Leave out a later node, whose result the caller writes."""
        self._skipped.add(id(node))

    def is_skipped(self, node: onnx.NodeProto) -> bool:
        """Whether `skip` was called."""
        return id(node) in self._skipped

    def finish(self) -> onnx.ModelProto:
        """The written graph without what nobody uses; shapes inside are left to be inferred again."""
        used = set(self.outputs)
        alive: list[onnx.NodeProto] = []
        for node in reversed(self._written):
            if used.intersection(node.output):
                alive.append(node)
                used.update(node.input)
        old = {item.name: item for item in self._model.graph.initializer}
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        # Before version 4 an initializer had to be an input as well.
        model.ir_version = max(model.ir_version, 4)
        graph = model.graph
        for field in ("node", "initializer", "value_info", "input"):
            graph.ClearField(field)
        graph.input.extend(value for value in self._model.graph.input if value.name not in old)
        graph.node.extend(reversed(alive))
        graph.initializer.extend(item for name, item in old.items() if name in used)
        graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in self._made.items() if name in used
        )
        return model


def rewrite_nodes(model: onnx.ModelProto, visit: Callable[[Graph, onnx.NodeProto], bool]) -> onnx.ModelProto:
    """Let `visit` write something else for each node, in order, or write nothing and say False; same object if it never did."""
    graph = Graph(model)
    if graph.opset < _BROADCASTS:
        return model
    changed = False
    for node in graph.nodes:
        if graph.is_skipped(node):
            continue
        if visit(graph, node):
            changed = True
        else:
            graph.keep(node)
    return graph.finish() if changed else model


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value, strings as `str`; `default` if the node has none."""
    for item in node.attribute:
        if item.name == name:
            value = helper.get_attribute_value(item)
            return value.decode() if isinstance(value, bytes) else value
    return default


def reduce_last(graph: Graph, operator: str, name: str, output: str) -> str:
    """Write a reduction over the last axis, which stays with size 1; axes are an input since opset 13 or 18."""
    if graph.opset < (13 if operator == "ReduceSum" else 18):
        return graph.emit(operator, [name], output, axes=[-1], keepdims=1)
    axes = graph.new_constant(np.array([-1], np.int64), f"{output}.axes")
    return graph.emit(operator, [name, axes], output, keepdims=1)


def optional_input(node: onnx.NodeProto, index: int) -> str:
    """The name of an input, empty if it is left out."""
    return node.input[index] if index < len(node.input) else ""


def _constant_node(node: onnx.NodeProto) -> Array | None:
    if node.op_type != "Constant" or len(node.attribute) != 1:
        return None
    item = node.attribute[0]
    if item.name == "value":
        return numpy_helper.to_array(item.t)
    kinds: dict[str, type[np.generic]] = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    return np.array(helper.get_attribute_value(item), dtype=kinds[item.name]) if item.name in kinds else None


def _static(value: onnx.ValueInfoProto) -> Shape | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        return None
    return tuple(dim.dim_value for dim in kind.shape.dim)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
