"""Lowers a network to fixed-point numbers that EZKL computes by table: one cell per ReLU, one per halving.

Takes a network of products, additions, ReLU, curves, softmax and index operators (`sites` says which), and a `Plan`;
gives a network with the same fp32 meaning, to be compiled with ``param_scale = PARAM_SCALE`` and no rebasing by EZKL.

EZKL gives each tensor a *label*: it reads the integer v at label l as v / 2^l.
What a number is worth here is our own matter: v / 2^f with the *fraction* f.
So the label is free, and three things follow (measured with EZKL 23.0.5; cells are of the main columns):

- a constant w at label PARAM_SCALE stands for any weight exponent b: the integer is round(w·2^b), the label falls by PARAM_SCALE;
- HardSwish is x for x >= 3 and 0 for x <= -3, so at a label of -2 or less it is exactly ReLU on integers: 1 cell, not 16;
- near zero HardSwish is x/2, so at a label of 36 or more it is exactly floor(v/2 + 1/2): 1 cell, where a rebase takes 47.

Where nothing is clipped, HIGH + PARAM_SCALE is the label of curves instead, so that a product leaves numbers where a table of a
curve takes them; exponentials and logarithms have a label of their own (`exponentials`).

A product with a constant below 1 that is a power of two only moves the label.
In fp32 all of it is exact but for HardSwish, whose error is below 2^-30 of the value at these labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..plan import CURVES as CURVES_LABEL
from ..plan import EXPONENTIALS, PARAM_SCALE, Plan
from .exponentials import power, softmax
from .integers import Integers, Number, away_from_zero
from .sites import CURVES, Reading, find_sites, other_input, power_of, shift_of

HIGH = 40
"""The label at which values are halved where there are ReLUs; HIGH + PARAM_SCALE is the label of every ReLU."""

_OPSET = 14
"""The first operator set with HardSwish."""


def lower(model: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """The network for EZKL, with the same inputs, outputs and fp32 function."""
    return _Writer(model, plan, exact=False).write()


@dataclass(frozen=True, slots=True)
class Twin:
    """The same computation on integers in binary64, for trying plans quickly.

    `tabled`: the network's further outputs, which are what the tables take, and the layers' names in the given network.
    `fractions`: of each output. `cells`: of the main columns, those of products left out. `tables`: how many there are.
    """

    model: onnx.ModelProto
    tabled: dict[str, str]
    fractions: list[int]
    cells: int
    tables: int


def twin(model: onnx.ModelProto, plan: Plan) -> Twin:
    """The twin of a lowered network."""
    writer = _Writer(model, plan, exact=True)
    made, written = writer.write(), writer.written
    return Twin(made, written.tabled, writer.fractions, written.cells, len(written.tables))


class _Writer:
    """Writes the lowered network, or with `exact` its twin on integers."""

    def __init__(self, model: onnx.ModelProto, plan: Plan, *, exact: bool) -> None:
        self._model, self._plan, self._exact = model, plan, exact
        self._graph = Reading(model)
        sites = find_sites(model)
        assert sites is not None
        self._values = {value.name: index for index, value in enumerate(sites.values)}
        self._kinds = {value.name: value.kind for value in sites.values}
        self._products = iter(range(len(sites.products)))
        self._clips = self._graph.clips()
        self.written = Integers(exact=exact, high=HIGH if self._clips else self._curves_label() - PARAM_SCALE)
        self._numbers: dict[str, Number] = {}
        self.fractions: list[int] = []

    def _curves_label(self) -> int:
        """Where a product leaves numbers whose factor was at the label of halving."""
        if CURVES_LABEL in self._values:
            return self._fraction(CURVES_LABEL)
        return self._fraction(EXPONENTIALS, 2 * (HIGH + PARAM_SCALE)) // 2

    def _fraction(self, name: str, otherwise: int = 0) -> int:
        index = self._values.get(name)
        return otherwise if index is None else self._plan.fractions[index]

    def write(self) -> onnx.ModelProto:
        """The whole network."""
        given, written = self._model.graph, self.written
        for value in given.input:
            if value.name in self._graph.inputs:
                # All values live at one label, so that one table serves every ReLU.
                size = prod(self._graph.shape(value.name))
                number = Number(value.name, self._plan.scale, self._plan.scale, size)
                self._keep(value.name, written.at_label(number, written.high))
        for node in given.node:
            if node.op_type != "Constant":
                self._keep(node.output[0], self._node(node))
        outputs = []
        for value in given.output:
            number = written.settled(self._numbers[value.name])
            self.fractions.append(number.fraction)
            number = written.at_label(number, number.fraction)
            written.emit("Identity", [number.name], output=value.name)
            outputs.append(self._typed(value))
        inputs = [self._typed(value) for value in given.input if value.name in self._graph.inputs]
        tapped = (
            [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in written.tabled]
            if self._exact
            else []
        )
        graph = helper.make_graph(
            written.nodes, given.name or "network", inputs, [*outputs, *tapped], written.constants
        )
        given_set = max(item.version for item in self._model.opset_import if item.domain in ("", "ai.onnx"))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", max(given_set, _OPSET))])
        model.ir_version = self._model.ir_version
        return model

    def _node(self, node: onnx.NodeProto) -> Number:
        numbers = [self._numbers[name] for name in self._graph.variable_inputs(node)]
        if node.op_type == "Add" and len(numbers) == 1:
            return self._biased(node, numbers[0])
        if node.op_type == "Add":
            return self._plus(numbers[0], numbers[1], node.output[0])
        if node.op_type == "Gather" and numbers[0].bias is not None:
            return self._gathered(node, numbers[0])
        write = self._writers.get(node.op_type, _Writer._moved)
        return write(self, node, *map(self._settled, self._graph.variable_inputs(node)))

    def _settled(self, name: str) -> Number:
        """A tensor with its bias, which is added once for all who take it."""
        number = self._numbers[name] = self.written.settled(self._numbers[name])
        return number

    def _size(self, node: onnx.NodeProto) -> int:
        return prod(self._graph.shape(node.output[0]))

    def _biased(self, node: onnx.NodeProto, number: Number) -> Number:
        """A constant added: later, if it is a vector along the last axis."""
        bias = self._graph.constants[other_input(node, self._graph.variable_inputs(node)[0])]
        last = self._graph.shape(node.output[0])[-1]
        if bias.shape[-1:] == (last,) and bias.size == last:
            vector = np.asarray(bias, np.float64).reshape(-1)
            return replace(number, bias=vector if number.bias is None else number.bias + vector)
        return replace(self.written.plus_constant(self.written.settled(number), bias), size=self._size(node))

    def _minus(self, node: onnx.NodeProto, number: Number, *other: Number) -> Number:
        if other:
            return self._plus(number, other[0], node.output[0], operator="Sub")
        return self.written.plus_constant(number, -self._graph.constants[node.input[1]])

    def _times(self, node: onnx.NodeProto, number: Number, *other: Number) -> Number:
        """Two tensors multiplied, or a power of two, which only moves label and fraction."""
        if other:
            return self._multiplied("Mul", node, number, other[0])
        by = shift_of(self._graph.constants[other_input(node, self._graph.variable_inputs(node)[0])])
        assert by is not None
        moved = self.written.at_label(number, number.label + by)
        return replace(moved, fraction=number.fraction + by)

    def _multiplied(self, operator: str, node: onnx.NodeProto, first: Number, second: Number) -> Number:
        """Two tensors, element by element or row by column; at the label where they are needed next."""
        fraction, size = first.fraction + second.fraction, self._size(node)
        if not self._clips:
            is_logit = self._graph.only_user(node.output[0]) == "Softmax" and fraction == self._fraction(
                EXPONENTIALS
            )
            wanted = fraction if is_logit else self.written.high
            first, second = self.written.pair(first, second, size, wanted)
        made = self.written.emit(operator, [first.name, second.name])
        if operator == "Mul":
            self.written.cells += size
        return Number(made, first.label + second.label, fraction, size)

    def _cast(self, _: onnx.NodeProto, number: Number) -> Number:
        """Of a comparison, which is a number here already."""
        return number

    def _product(self, node: onnx.NodeProto, number: Number, *other: Number) -> Number:
        if other:
            return self._multiplied("MatMul", node, number, other[0])
        index, written = next(self._products), self.written
        exponent = self._plan.weights[index]
        matrix = np.asarray(self._graph.constants[node.input[1]], np.float64) * 2.0**exponent
        fraction, size = number.fraction + exponent, self._size(node)
        if not self._clips:
            # What is halved next, or taken to a power, is there at once where the factor was moved instead.
            ready = self._graph.leads_to(node.output[0], CURVES) and fraction == self._curves_label()
            up = written.high - (0 if ready or number.size >= size else PARAM_SCALE)
            number = written.at_label(number, up)
        weights = written.constant(away_from_zero(matrix) if self._exact else matrix * 2.0**-PARAM_SCALE)
        taken = number.name
        if self._plan.paired[index] and not self._exact:
            empty = written.constant(np.zeros((1, matrix.shape[0])))
            taken = written.emit("Reshape", [taken, written.shape([1, matrix.shape[0]])])
            taken = written.emit("Concat", [taken, empty], axis=0)
        made = written.emit("MatMul", [taken, weights])
        if self._plan.paired[index] and not self._exact:
            # A sum, since EZKL's importer would take a row out of the product before it is made.
            made = written.emit("ReduceSum", [made, written.shape([0])], keepdims=1)
        shape = self._graph.shape(node.output[0])
        if size == matrix.shape[1] and not self._plan.paired[index]:
            # Of one row: too small for Freivalds' argument.
            written.cells += int(np.count_nonzero(matrix))
        if self._plan.paired[index] and not self._exact and shape != (1, matrix.shape[1]):
            made = written.emit("Reshape", [made, written.shape(shape)])
        return Number(made, number.label + PARAM_SCALE, fraction, size)

    def _plus(self, first: Number, second: Number, layer: str, operator: str = "Add") -> Number:
        written = self.written
        if operator == "Add" and (first.bias is None) != (second.bias is None):
            bias = first.bias if first.bias is not None else second.bias
            bare = [replace(number, bias=None) for number in (first, second)]
            return replace(self._plus(bare[0], bare[1], layer), bias=bias)
        first, second = (written.settled(number) for number in (first, second))
        first, second = written.alike([first, second], layer)
        size = prod(self._graph.shape(layer))
        written.cells += size
        return Number(written.emit(operator, [first.name, second.name]), first.label, first.fraction, size)

    def _joined(self, node: onnx.NodeProto, *given: Number) -> Number:
        written = self.written
        numbers = written.alike(given, node.output[0])
        names = {
            name: number.name for name, number in zip(self._graph.variable_inputs(node), numbers, strict=True)
        }
        inputs = [names.get(name) or written.constant(self._graph.constants[name]) for name in node.input]
        made = written.emit("Concat", inputs, axis=helper.get_node_attr_value(node, "axis"))
        return Number(made, numbers[0].label, numbers[0].fraction, self._size(node))

    def _curve(self, node: onnx.NodeProto, number: Number) -> Number:
        """A table of a smooth curve, at the label that is the fraction."""
        out = node.output[0]
        if not self._clips:
            # All at one fraction, so that each has one table.
            number = self.written.at_fraction(number, self._curves_label(), out)
        return self.written.looked_up(node.op_type, self.written.at_label(number, number.fraction), out)

    def _summed(self, node: onnx.NodeProto, number: Number) -> Number:
        self.written.cells += number.size
        axes = self.written.constant(self._graph.constants[node.input[1]], np.dtype("i8"))
        keeps = next((item.i for item in node.attribute if item.name == "keepdims"), 1)
        made = self.written.emit("ReduceSum", [number.name, axes], keepdims=keeps)
        return replace(number, name=made, size=self._size(node))

    def _squares(self, node: onnx.NodeProto, number: Number) -> Number:
        """The sum of squares along the last axis, of numbers with half the fraction bits that the sum has."""
        written, out, size = self.written, node.output[0], self._size(node)
        number = written.halved(number, number.fraction - self._fraction(out) // 2, out)
        written.cells += number.size
        terms = number.size // size
        if self._exact:
            squares = written.emit("Mul", [number.name, number.name])
            made = written.emit("ReduceSum", [squares, written.shape([-1])], keepdims=1)
        else:
            # Products of a row and a column take one cell for each number, squares and their sum two.
            row = written.emit("Reshape", [number.name, written.shape([size, 1, terms])])
            column = written.emit("Reshape", [number.name, written.shape([size, terms, 1])])
            made = written.emit("MatMul", [row, column])
            made = written.emit("Reshape", [made, written.shape(self._graph.shape(out))])
        return Number(made, 2 * number.label, 2 * number.fraction, size)

    def _softmax(self, node: onnx.NodeProto, number: Number) -> Number:
        out = node.output[0]
        fractions = self._fraction(f"{out}.sum"), self._fraction(out)
        terms = self._graph.shape(out)[-1]
        return softmax(self.written, number, terms, out, self._fraction(EXPONENTIALS), fractions)

    def _power(self, node: onnx.NodeProto, number: Number) -> Number:
        exponent, out = power_of(self._graph.constants[node.input[1]]), node.output[0]
        assert exponent is not None
        return power(self.written, number, exponent, out, self._fraction(EXPONENTIALS), self._fraction(out))

    def _compared(self, node: onnx.NodeProto, number: Number) -> Number:
        """1 where the comparison holds, else 0: relu(v) - relu(v - 1) of the integer v that is 1 or more just there."""
        limit = np.asarray(self._graph.constants[node.input[1]], np.float64) * 2.0**number.fraction
        # v = x - floor(limit) is at least 1 just where x > limit; where x >= limit, with ceil(limit) - 1 for the floor.
        strict = node.op_type in ("Greater", "LessOrEqual")
        least = np.floor(limit) if strict else np.ceil(limit) - 1
        moved = self.written.plus_constant(number, -least * 2.0**-number.fraction)
        first = self.written.clipped(moved, node.output[0])
        low = self.written.at_label(moved, HIGH + PARAM_SCALE)
        one = self.written.plus_constant(replace(low, fraction=0), np.array(-1.0))
        second = self.written.clipped(one, node.output[0])
        above = node.op_type in ("Greater", "GreaterOrEqual")
        made = replace(
            self.written.minus(first, second) if above else self.written.minus(second, first), fraction=0
        )
        return made if above else self.written.plus_constant(made, np.array(1.0))

    def _equal(self, node: onnx.NodeProto, number: Number) -> Number:
        """1 where two whole numbers are equal, else 0: the second difference of relu, or its end where none is larger."""
        assert number.fraction == 0
        wanted = self._graph.constants[node.input[1]]
        most = self._graph.most(node.input[0])
        ends = [
            self.written.clipped(self.written.plus_constant(number, step - wanted), node.output[0])
            for step in ((1,) if most is not None and (most <= wanted).all() else (1, 0, -1))
        ]
        if len(ends) == 1:
            return replace(ends[0], fraction=0)
        ends = [replace(end, fraction=0) for end in ends]
        return self.written.minus(self.written.minus(ends[0], ends[1]), self.written.minus(ends[1], ends[2]))

    def _relu(self, node: onnx.NodeProto, number: Number) -> Number:
        return self.written.clipped(number, node.output[0])

    def _gathered(self, node: onnx.NodeProto, number: Number) -> Number:
        """A Gather before the bias, whose elements it also picks where it picks along the last axis."""
        assert number.bias is not None
        rank = len(self._graph.shape(node.input[0]))
        axis = next((item.i for item in node.attribute if item.name == "axis"), 0) % rank
        indices = self._graph.constants[node.input[1]]
        last = axis == rank - 1
        if indices.ndim != 1 and (last or (indices.ndim == 0 and rank == 1)):
            return self._moved(node, self.written.settled(number))
        moved = self._moved(node, replace(number, bias=None))
        return replace(moved, bias=number.bias[indices] if last else number.bias)

    def _moved(self, node: onnx.NodeProto, number: Number) -> Number:
        names = []
        for name in node.input:
            if name in self._graph.constants:
                array = self._graph.constants[name]
                names.append(
                    self.written.constant(
                        array, array.dtype if array.dtype.kind != "f" or node.op_type != "Concat" else None
                    )
                )
            else:
                names.append(number.name if name else "")
        made = self.written.emit(node.op_type, names)
        self.written.nodes[-1].attribute.extend(node.attribute)
        return replace(number, name=made, size=self._size(node))

    def _keep(self, name: str, number: Number) -> None:
        """Remember a tensor; a value that products take is halved first, where it is smallest."""
        kind = self._kinds.get(name, "")
        if kind in ("value", "curve", "state") and name not in self._graph.inputs:
            number = self.written.settled(number)
            number = self.written.halved(number, number.fraction - self._fraction(name), name)
            if self._clips:
                number = self.written.at_label(number, HIGH)
        self._numbers[name] = number

    _writers: ClassVar[Mapping[str, Callable[..., Number]]] = {
        "MatMul": _product,
        "Sub": _minus,
        "Mul": _times,
        "Relu": _relu,
        **dict.fromkeys(CURVES, _curve),
        "ReduceSum": _summed,
        "ReduceSumSquare": _squares,
        "Softmax": _softmax,
        "Pow": _power,
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
