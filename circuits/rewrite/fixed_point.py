"""Lowers a network to fixed-point numbers that EZKL computes by table: one cell per ReLU, one per halving.

Takes a network of products with constant matrices, additions, ReLU and index operators, and a `Plan`;
gives a network with the same fp32 meaning, to be compiled with ``param_scale = PARAM_SCALE`` and no rebasing by EZKL.

EZKL gives each tensor a *label*: it reads the integer v at label l as v / 2^l.
What a number is worth here is our own matter: v / 2^f with the *fraction* f.
So the label is free, and three things follow (measured with EZKL 23.0.5; cells are of the main columns):

- a constant w at label PARAM_SCALE stands for any weight exponent b: the integer is round(w·2^b), the label falls by PARAM_SCALE;
- HardSwish is x for x >= 3 and 0 for x <= -3, so at a label of -2 or less it is exactly ReLU on integers: 1 cell, not 16;
- near zero HardSwish is x/2, so at a label of 36 or more it is exactly floor(v/2 + 1/2): 1 cell, where a rebase takes 47.

A product with a constant below 1 that is a power of two only moves the label.
In fp32 all of it is exact but for HardSwish, whose error is below 2^-30 of the value at these labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..plan import PARAM_SCALE, Plan
from .sites import Reading, find_sites, other_input, shift_of

HIGH = 40
"""The label at which values are halved; HIGH + PARAM_SCALE is the label of every ReLU."""

_OPSET = 14
"""The first operator set with HardSwish."""


def lower(model: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """The network for EZKL, with the same inputs, outputs and fp32 function."""
    return _Writer(model, plan, exact=False).write()


@dataclass(frozen=True, slots=True)
class Twin:
    """The same computation on integers in binary64, for trying plans quickly.

    `tabled`: the network's further outputs, which are what the tables take, and the layers' names in the given network.
    `fractions`: of each output. `cells`: how many cells depend on the plan, to compare plans by.
    """

    model: onnx.ModelProto
    tabled: dict[str, str]
    fractions: list[int]
    cells: int


def twin(model: onnx.ModelProto, plan: Plan) -> Twin:
    """The twin of a lowered network."""
    writer = _Writer(model, plan, exact=True)
    return Twin(writer.write(), writer.tabled, writer.fractions, writer.cells)


@dataclass(frozen=True, slots=True)
class _Number:
    """A tensor in the written network: its name there, its label and its fraction.

    `bias`: a vector along the last axis, in true units, that is still to be added.
    """

    name: str
    label: int
    fraction: int
    bias: npt.NDArray[Any] | None = None


class _Writer:
    """Writes the lowered network, or with `exact` its twin on integers."""

    def __init__(self, model: onnx.ModelProto, plan: Plan, *, exact: bool) -> None:
        self._model, self._plan, self._exact = model, plan, exact
        self._graph = Reading(model)
        sites = find_sites(model)
        assert sites is not None
        self._sites = sites
        self._values = {value.name: index for index, value in enumerate(sites.values)}
        self._products = iter(range(len(sites.products)))
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._added = count()
        self._numbers: dict[str, _Number] = {}
        self.tabled: dict[str, str] = {}
        self.fractions: list[int] = []
        self.cells = 0

    def write(self) -> onnx.ModelProto:
        """The whole network."""
        given = self._model.graph
        for value in given.input:
            if value.name in self._graph.inputs:
                # All values live at one label, so that one table serves every ReLU.
                number = _Number(value.name, self._plan.scale, self._plan.scale)
                self._keep(value.name, self._at_label(number, HIGH))
        for node in given.node:
            if node.op_type != "Constant":
                self._keep(node.output[0], self._node(node))
        outputs = []
        for value in given.output:
            number = self._settled(self._numbers[value.name])
            self.fractions.append(number.fraction)
            number = self._at_label(number, number.fraction)
            self._emit("Identity", [number.name], output=value.name)
            outputs.append(self._typed(value))
        inputs = [self._typed(value) for value in given.input if value.name in self._graph.inputs]
        tapped = (
            [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in self.tabled]
            if self._exact
            else []
        )
        graph = helper.make_graph(
            self._nodes, given.name or "network", inputs, [*outputs, *tapped], self._constants
        )
        given_set = max(item.version for item in self._model.opset_import if item.domain in ("", "ai.onnx"))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", max(given_set, _OPSET))])
        model.ir_version = self._model.ir_version
        return model

    def _node(self, node: onnx.NodeProto) -> _Number:
        numbers = [self._numbers[name] for name in self._graph.variable_inputs(node)]
        if node.op_type == "Add" and len(numbers) == 1:
            return self._biased(node, numbers[0])
        if node.op_type == "Add":
            return self._plus(numbers[0], numbers[1], node.output[0])
        if node.op_type == "Gather" and numbers[0].bias is not None:
            return self._gathered(node, numbers[0])
        write = self._writers.get(node.op_type, _Writer._moved)
        return write(self, node, *(self._settled(number) for number in numbers))

    def _biased(self, node: onnx.NodeProto, number: _Number) -> _Number:
        """A constant added: later, if it is a vector along the last axis."""
        bias = self._graph.constants[other_input(node, self._graph.variable_inputs(node)[0])]
        last = self._graph.shape(node.output[0])[-1]
        if bias.shape[-1:] == (last,) and bias.size == last:
            vector = np.asarray(bias, np.float64).reshape(-1)
            return replace(number, bias=vector if number.bias is None else number.bias + vector)
        return self._plus_constant(self._settled(number), bias)

    def _minus(self, node: onnx.NodeProto, number: _Number, *other: _Number) -> _Number:
        if other:
            return self._plus(number, other[0], node.output[0], operator="Sub")
        return self._plus_constant(number, -self._graph.constants[node.input[1]])

    def _times(self, node: onnx.NodeProto, number: _Number, *other: _Number) -> _Number:
        """Two tensors multiplied, or a power of two, which only moves label and fraction."""
        if other:
            made = self._emit("Mul", [number.name, other[0].name])
            return _Number(made, number.label + other[0].label, number.fraction + other[0].fraction)
        by = shift_of(self._graph.constants[other_input(node, self._graph.variable_inputs(node)[0])])
        assert by is not None
        moved = self._at_label(number, number.label + by)
        return replace(moved, fraction=number.fraction + by)

    def _cast(self, _: onnx.NodeProto, number: _Number) -> _Number:
        """Of a comparison, which is a number here already."""
        return number

    def _product(self, node: onnx.NodeProto, number: _Number) -> _Number:
        index = next(self._products)
        exponent = self._plan.weights[index]
        matrix = np.asarray(self._graph.constants[node.input[1]], np.float64) * 2.0**exponent
        weights = self._constant(_rounded(matrix) if self._exact else matrix * 2.0**-PARAM_SCALE)
        taken = number.name
        if self._plan.paired[index] and not self._exact:
            empty = self._constant(np.zeros((1, matrix.shape[0])))
            taken = self._emit(
                "Reshape", [taken, self._constant(np.array([1, matrix.shape[0]]), np.dtype("i8"))]
            )
            taken = self._emit("Concat", [taken, empty], axis=0)
        made = self._emit("MatMul", [taken, weights])
        if self._plan.paired[index] and not self._exact:
            # A sum, since EZKL's importer would take a row out of the product before it is made.
            rows = self._constant(np.array([0]), np.dtype("i8"))
            made = self._emit("ReduceSum", [made, rows], keepdims=1)
        shape = self._graph.shape(node.output[0])
        if self._plan.paired[index] and not self._exact and shape != (1, matrix.shape[1]):
            made = self._emit("Reshape", [made, self._constant(np.array(shape), np.dtype("i8"))])
        return _Number(made, number.label + PARAM_SCALE, number.fraction + exponent)

    def _plus_constant(self, number: _Number, bias: npt.NDArray[Any]) -> _Number:
        values = np.asarray(bias, np.float64) * 2.0**number.fraction
        # EZKL quantises a constant for its place only where it is used once, and its importer merges equal ones: so each is
        # another by a bit of its binary32 form. The twin counts alike, so that it has the same integers.
        values = values * (1 + next(self._added) * 2.0**-23)
        constant = self._constant(_rounded(values) if self._exact else values * 2.0**-number.label)
        return _Number(self._emit("Add", [number.name, constant]), number.label, number.fraction)

    def _settled(self, number: _Number) -> _Number:
        """The number with its bias added.

        As late as it can be, since one Add then does for several, and EZKL's importer would move Gathers before it and use
        one constant in several places, which EZKL quantises wrongly.
        """
        return number if number.bias is None else self._plus_constant(replace(number, bias=None), number.bias)

    def _plus(self, first: _Number, second: _Number, layer: str, operator: str = "Add") -> _Number:
        if operator == "Add" and (first.bias is None) != (second.bias is None):
            bias = first.bias if first.bias is not None else second.bias
            bare = [replace(number, bias=None) for number in (first, second)]
            return replace(self._plus(bare[0], bare[1], layer), bias=bias)
        first, second = (self._settled(number) for number in (first, second))
        first, second = self._alike([first, second], layer)
        return _Number(self._emit(operator, [first.name, second.name]), first.label, first.fraction)

    def _alike(self, numbers: Sequence[_Number], layer: str) -> list[_Number]:
        """The same values, all with the smallest fraction among them and one label."""
        if len({(number.label, number.fraction) for number in numbers}) == 1:
            return list(numbers)
        fraction = min(number.fraction for number in numbers)
        return [
            self._at_label(self._halved(number, number.fraction - fraction, layer), HIGH)
            for number in numbers
        ]

    def _joined(self, node: onnx.NodeProto, *given: _Number) -> _Number:
        numbers = self._alike(given, node.output[0])
        names = {
            name: number.name for name, number in zip(self._graph.variable_inputs(node), numbers, strict=True)
        }
        inputs = [names.get(name) or self._constant(self._graph.constants[name]) for name in node.input]
        made = self._emit("Concat", inputs, axis=helper.get_node_attr_value(node, "axis"))
        return _Number(made, numbers[0].label, numbers[0].fraction)

    def _curve(self, node: onnx.NodeProto, number: _Number) -> _Number:
        """A table of a smooth curve, at the label that is the fraction."""
        at = self._at_label(number, number.fraction)
        if not self._exact:
            return _Number(self._emit(node.op_type, [at.name]), at.label, at.fraction)
        self.tabled[at.name] = node.output[0]
        true = self._emit("Mul", [at.name, self._constant(np.array(2.0**-number.fraction))])
        scaled = self._emit(
            "Mul", [self._emit(node.op_type, [true]), self._constant(np.array(2.0**number.fraction))]
        )
        rounded = self._emit("Floor", [self._emit("Add", [scaled, self._constant(np.array(0.5))])])
        return _Number(rounded, at.label, at.fraction)

    def _compared(self, node: onnx.NodeProto, number: _Number) -> _Number:
        """1 where the comparison holds, else 0: relu(v) - relu(v - 1) of the integer v that is 1 or more just there."""
        limit = np.asarray(self._graph.constants[node.input[1]], np.float64) * 2.0**number.fraction
        # v = x - floor(limit) is at least 1 just where x > limit; where x >= limit, with ceil(limit) - 1 for the floor.
        strict = node.op_type in ("Greater", "LessOrEqual")
        least = np.floor(limit) if strict else np.ceil(limit) - 1
        moved = self._plus_constant(number, -least * 2.0**-number.fraction)
        first = self._clipped(moved, node.output[0])
        low = self._at_label(moved, HIGH + PARAM_SCALE)
        one = self._plus_constant(_Number(low.name, low.label, 0), np.array(-1.0))
        second = self._clipped(one, node.output[0])
        above = node.op_type in ("Greater", "GreaterOrEqual")
        ordered = (first.name, second.name) if above else (second.name, first.name)
        made = _Number(self._emit("Sub", list(ordered)), first.label, 0)
        return made if above else self._plus_constant(made, np.array(1.0))

    def _equal(self, node: onnx.NodeProto, number: _Number) -> _Number:
        """1 where two whole numbers are equal, else 0: the second difference of relu, or its end where none is larger."""
        assert number.fraction == 0
        wanted = self._graph.constants[node.input[1]]
        most = self._graph.most(node.input[0])
        ends = [
            self._clipped(self._plus_constant(number, step - wanted), node.output[0])
            for step in ((1,) if most is not None and (most <= wanted).all() else (1, 0, -1))
        ]
        if len(ends) == 1:
            return _Number(ends[0].name, ends[0].label, 0)
        above, below = (self._emit("Sub", [ends[i].name, ends[i + 1].name]) for i in (0, 1))
        return _Number(self._emit("Sub", [above, below]), ends[0].label, 0)

    def _relu(self, node: onnx.NodeProto, number: _Number) -> _Number:
        return self._clipped(number, node.output[0])

    def _clipped(self, number: _Number, layer: str) -> _Number:
        """The larger of the number and 0, by table."""
        low = self._at_label(number, HIGH + PARAM_SCALE)
        if self._exact:
            self.tabled[low.name] = layer
        made = self._emit("Relu" if self._exact else "HardSwish", [low.name])
        return _Number(made, low.label, low.fraction)

    def _gathered(self, node: onnx.NodeProto, number: _Number) -> _Number:
        """A Gather before the bias, whose elements it also picks where it picks along the last axis."""
        assert number.bias is not None
        rank = len(self._graph.shape(node.input[0]))
        axis = next((item.i for item in node.attribute if item.name == "axis"), 0) % rank
        indices = self._graph.constants[node.input[1]]
        last = axis == rank - 1
        if indices.ndim != 1 and (last or (indices.ndim == 0 and rank == 1)):
            return self._moved(node, self._settled(number))
        moved = self._moved(node, replace(number, bias=None))
        return replace(moved, bias=number.bias[indices] if last else number.bias)

    def _moved(self, node: onnx.NodeProto, number: _Number) -> _Number:
        names = []
        for name in node.input:
            if name in self._graph.constants:
                array = self._graph.constants[name]
                names.append(
                    self._constant(
                        array, array.dtype if array.dtype.kind != "f" or node.op_type != "Concat" else None
                    )
                )
            else:
                names.append(number.name if name else "")
        output = f"n{len(self._nodes)}"
        copy = helper.make_node(node.op_type, names, [output], name=f"{node.op_type}_{len(self._nodes)}")
        copy.attribute.extend(node.attribute)
        self._nodes.append(copy)
        return _Number(output, number.label, number.fraction)

    def _keep(self, name: str, number: _Number) -> None:
        """Remember a tensor; a value that products take is halved first, where it is smallest."""
        index = self._values.get(name)
        if index is not None and name not in self._graph.inputs:
            number = self._settled(number)
            number = self._at_label(
                self._halved(number, number.fraction - self._plan.fractions[index], name), HIGH
            )
        self._numbers[name] = number

    def _halved(self, number: _Number, times: int, layer: str) -> _Number:
        if times <= 0:
            return number
        high = self._at_label(number, HIGH)
        name = high.name
        if self._exact:
            self.tabled.setdefault(name, layer)
        self.cells += times * prod(self._graph.shape(layer))
        for _ in range(times):
            if self._exact:
                half = self._emit("Mul", [name, self._constant(np.array(0.5))])
                name = self._emit("Floor", [self._emit("Add", [half, self._constant(np.array(0.5))])])
            else:
                name = self._emit("HardSwish", [name])
        return _Number(name, HIGH, high.fraction - times)

    def _at_label(self, number: _Number, label: int) -> _Number:
        """The same integers at another label: one cell each way up, and one for each step of -PARAM_SCALE down."""
        if self._exact or number.label == label:
            return _Number(number.name, label, number.fraction)
        name, current = number.name, number.label
        while current > label:
            # The integer 1 at PARAM_SCALE.
            name = self._emit("Mul", [name, self._constant(np.array([2.0**-PARAM_SCALE]))])
            current += PARAM_SCALE
        if current < label:
            name = self._emit("Mul", [name, self._constant(np.array([2.0 ** (current - label)]))])
        return _Number(name, label, number.fraction)

    _writers: ClassVar[Mapping[str, Callable[..., _Number]]] = {
        "MatMul": _product,
        "Sub": _minus,
        "Mul": _times,
        "Relu": _relu,
        "Sigmoid": _curve,
        "Tanh": _curve,
        "Cast": _cast,
        "Equal": _equal,
        **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual"), _compared),
        "Concat": _joined,
    }

    def _typed(self, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
        if not self._exact:
            return value
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        return helper.make_tensor_value_info(value.name, TensorProto.DOUBLE, shape)

    def _emit(
        self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any
    ) -> str:
        name = output or f"n{len(self._nodes)}"
        node = helper.make_node(
            operator, list(inputs), [name], name=f"{operator}_{len(self._nodes)}", **attributes
        )
        self._nodes.append(node)
        return name

    def _constant(self, array: npt.NDArray[Any], dtype: np.dtype[Any] | None = None) -> str:
        # Each use has a constant of its own: EZKL quantises one anew for the place where it stands.
        name = f"c{len(self._constants)}"
        kind = dtype or np.dtype(np.float64 if self._exact else np.float32)
        self._constants.append(numpy_helper.from_array(np.asarray(array, kind), name))
        return name


def _rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Half away from zero, as EZKL rounds constants."""
    rounded: npt.NDArray[np.float64] = np.copysign(np.floor(np.abs(values) + 0.5), values)
    return rounded
