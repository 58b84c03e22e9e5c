"""Where a network can be lowered to fixed-point numbers: what its nodes are, and which of its tensors have a choice.

`fixed_point` writes what is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from math import log2, prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..plan import CURVES as CURVES_LABEL
from ..plan import EXPONENTIALS, Product, Sites, Value
from .derived import derive

CURVES = ("Sigmoid", "Tanh", "Erf")
_COMPARISONS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")

_INDEX = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Gather", "Slice", "Identity"}
"""Operators that only move numbers; their further inputs are constants."""


def find_sites(model: onnx.ModelProto) -> Sites | None:
    """The sites of a network that can be lowered, None of any other."""
    graph = Reading(model)
    floats = {
        value.name for value in model.graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    if not set(graph.inputs) <= floats or not all(graph.supports(node) for node in model.graph.node):
        return None
    products: list[Product] = []
    values: dict[str, str] = {}
    for node in model.graph.node:
        for name, kind in graph.taken(node).items():
            values.setdefault(name, kind)
        if node.op_type != "MatMul" or len(graph.variable_inputs(node)) > 1:
            continue
        matrix = graph.constants[node.input[1]]
        rows = prod(graph.shape(node.output[0])) // matrix.shape[1]
        largest = float(np.abs(matrix).max())
        products.append(
            Product(
                name=node.name or node.output[0],
                rows=rows,
                terms=matrix.shape[0],
                columns=matrix.shape[1],
                largest=largest,
                integral=graph.integral(node.input[0]) and _whole(matrix),
            )
        )
    if not products:
        return None
    return Sites(tuple(products), tuple(Value(name, kind) for name, kind in values.items()))


def with_sums(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with the sum of each Softmax, less the mean, as a tensor, called as its site is."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for node in model.graph.node:
        if node.op_type == "Softmax":
            name, x = f"{node.output[0]}.sum", node.input[0]
            # The largest share is the largest power over the sum; less the mean, the product of powers is 1.
            made.graph.node.extend(
                [
                    helper.make_node("ReduceMean", [x], [f"{name}.mean"], axes=[-1], keepdims=1),
                    helper.make_node("Sub", [x, f"{name}.mean"], [f"{name}.rest"]),
                    helper.make_node("ReduceLogSumExp", [f"{name}.rest"], [f"{name}.log"], axes=[-1]),
                    helper.make_node("Exp", [f"{name}.log"], [name]),
                ]
            )
    return made


class Reading:
    """Look-ups on a model with inferred shapes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = derive(model)
        self.constants: dict[str, npt.NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self._producer = {output: node for node in graph.node for output in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._shapes = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info, *graph.output)
        }

    def shape(self, name: str) -> tuple[int, ...]:
        """The static shape of a tensor; raises `KeyError` where ONNX's inference finds none."""
        return self._shapes[name]

    def variable_inputs(self, node: onnx.NodeProto) -> list[str]:
        """The inputs that are not constants."""
        return [name for name in node.input if name and name not in self.constants]

    def supports(self, node: onnx.NodeProto) -> bool:
        """Whether the writer knows this node."""
        if node.op_type in ("Constant", "Relu", *CURVES):
            return True
        known = self._supported.get(node.op_type)
        return known is not None and known(self, node, self.variable_inputs(node))

    def _supports_comparison(self, node: onnx.NodeProto, variable: list[str]) -> bool:
        only_cast = all(user.op_type == "Cast" for user in self._users.get(node.output[0], ()))
        exact = node.op_type != "Equal" or self.integral(variable[0] if variable else "")
        return variable == [node.input[0]] and only_cast and exact

    def _supports_cast(self, node: onnx.NodeProto, _: list[str]) -> bool:
        made = self._producer.get(node.input[0])
        return made is not None and made.op_type in _COMPARISONS

    def _supports_index(self, node: onnx.NodeProto, variable: list[str]) -> bool:
        # Axes as attributes are of old operator sets, which have no HardSwish.
        return variable == [node.input[0]] and not {"axes", "starts"} & {item.name for item in node.attribute}

    def _supports_product(self, node: onnx.NodeProto, variable: list[str]) -> bool:
        if len(variable) == 2:
            return True
        matrix = self.constants.get(node.input[1])
        return variable == [node.input[0]] and matrix is not None and matrix.ndim == 2 and bool(matrix.any())

    def _supports_sum(self, _: onnx.NodeProto, variable: list[str]) -> bool:
        return len(variable) >= 1

    def _supports_difference(self, node: onnx.NodeProto, variable: list[str]) -> bool:
        return bool(variable) and variable[0] == node.input[0]

    def _supports_concat(self, node: onnx.NodeProto, variable: list[str]) -> bool:
        others = [self.constants[name] for name in node.input if name in self.constants]
        return len(variable) >= 1 and not any(array.any() for array in others)

    def _supports_factor(self, node: onnx.NodeProto, variable: list[str]) -> bool:
        return len(variable) == 2 or (
            len(variable) == 1 and shift_of(self.constants[other_input(node, variable[0])]) is not None
        )

    def _supports_power(self, node: onnx.NodeProto, variable: list[str]) -> bool:
        """Of a sum of squares and a little more, which is positive."""
        exponent = self.constants.get(node.input[1])
        made = self._producer.get(node.input[0])
        if variable != [node.input[0]] or exponent is None or power_of(exponent) is None:
            return False
        if made is None or made.op_type != "Add" or len(self.variable_inputs(made)) != 1:
            return False
        squares = self._producer.get(self.variable_inputs(made)[0])
        more = self.constants[other_input(made, self.variable_inputs(made)[0])]
        return squares is not None and squares.op_type == "ReduceSumSquare" and bool((more > 0).all())

    def _supports_reduction(self, node: onnx.NodeProto, variable: list[str]) -> bool:
        """Over the last axis, which stays unless it is a plain sum, of which the axes are constant."""
        if variable != [node.input[0]]:
            return False
        rank = len(self.shape(node.input[0]))
        given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        axes = self.constants.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type == "ReduceSum":
            return axes is not None and axes.size > 0
        if node.op_type == "Softmax":
            return int(given.get("axis", -1)) in (-1, rank - 1)
        found = [int(axis) for axis in (given.get("axes", []) if axes is None else axes)]
        return found in ([-1], [rank - 1]) and given.get("keepdims", 1) == 1

    _supported: ClassVar[Mapping[str, Callable[..., bool]]] = {
        **dict.fromkeys(_COMPARISONS, _supports_comparison),
        **dict.fromkeys((*_INDEX, "MaxPool"), _supports_index),
        **dict.fromkeys(("ReduceSum", "ReduceSumSquare", "Softmax"), _supports_reduction),
        "Add": _supports_sum,
        "Cast": _supports_cast,
        "Concat": _supports_concat,
        "MatMul": _supports_product,
        "Mul": _supports_factor,
        "Pow": _supports_power,
        "Sub": _supports_difference,
    }

    def taken(self, node: onnx.NodeProto) -> dict[str, str]:
        """The numbers that a plan has for this node's sake, by tensor, with their kinds (`Value`)."""
        variable, out = self.variable_inputs(node), node.output[0]
        if node.op_type == "MatMul":
            return {self.source(name): "value" for name in variable}
        if node.op_type in CURVES:
            alone = all(user.op_type in CURVES for user in self._users[variable[0]])
            return {CURVES_LABEL: "label", self.source(variable[0]): "curve" if alone else "state"}
        if node.op_type == "Mul" and len(variable) == 2:
            return {} if self._adds_to_another(out) else {out: "value"}
        if node.op_type == "ReduceSumSquare":
            return {self.source(variable[0]): "value", out: "squares"}
        if node.op_type == "Softmax":
            return {EXPONENTIALS: "label", f"{out}.sum": "sum", out: "power"}
        if node.op_type == "Pow":
            return {EXPONENTIALS: "label", out: "power"}
        return {}

    def _adds_to_another(self, name: str) -> bool:
        """Whether this product of two tensors only goes into a sum with another, which a curve takes: that is halved then."""
        users = self._users.get(name, [])
        if len(users) != 1 or users[0].op_type != "Add" or self.clips():
            return False
        makers = [self._producer.get(item) for item in users[0].input]
        after = self._users.get(users[0].output[0], [])
        return all(
            made is not None and made.op_type == "Mul" and len(self.variable_inputs(made)) == 2
            for made in makers
        ) and any(user.op_type in CURVES for user in after)

    def clips(self) -> bool:
        """Whether some number is compared with another: by a ReLU, or by what is made of it."""
        return any(node.op_type in ("Relu", *_COMPARISONS) for node in self._producer.values())

    def only_user(self, name: str) -> str:
        """The operator of the one node that takes this tensor, through operators that only move numbers; else empty."""
        users = self._users.get(name, [])
        if len(users) != 1:
            return ""
        moves = users[0].op_type in _INDEX
        return self.only_user(users[0].output[0]) if moves else str(users[0].op_type)

    def leads_to(self, name: str, operators: Container[str]) -> bool:
        """Whether such a node takes this tensor, moved and added to as may be."""
        return any(
            user.op_type in operators
            or (user.op_type in (*_INDEX, "Add", "Sub") and self.leads_to(user.output[0], operators))
            for user in self._users.get(name, ())
        )

    def integral(self, name: str) -> bool:
        """Whether a tensor holds whole numbers at fraction 0: comparisons, and what whole matrices and sums make of them."""
        node = self._producer.get(name)
        if node is None:
            return False
        variable = self.variable_inputs(node)
        if node.op_type == "Cast":
            return True
        if node.op_type in ("MatMul", "Add"):
            constants = [self.constants[name] for name in node.input if name in self.constants]
            return all(map(_whole, constants)) and all(map(self.integral, variable))
        return node.op_type in _INDEX and len(variable) == 1 and self.integral(variable[0])

    def most(self, name: str) -> npt.NDArray[Any] | None:
        """An upper bound of a sum of comparisons, column by column; None where the form is another."""
        node = self._producer.get(name)
        if node is None:
            return None
        variable = self.variable_inputs(node)
        if node.op_type == "Add" and len(variable) == 1:
            below = self.most(variable[0])
            return None if below is None else below + self.constants[other_input(node, variable[0])]
        if node.op_type != "MatMul":
            return None
        made = self._producer.get(self.source(variable[0]))
        if made is None or made.op_type != "Cast":
            return None
        bound: npt.NDArray[Any] = np.maximum(self.constants[node.input[1]], 0).sum(axis=0)
        return bound

    def source(self, name: str) -> str:
        """Where a product's value comes from: the smallest tensor from which index operators lead to it."""
        best, current = name, name
        while (node := self._producer.get(current)) is not None:
            variable = self.variable_inputs(node)
            if node.op_type not in (*_INDEX, "Concat") or len(variable) != 1:
                break
            current = variable[0]
            if prod(self.shape(current)) <= prod(self.shape(best)):
                best = current
        return best


def _whole(array: npt.NDArray[Any]) -> bool:
    return bool((array == np.round(array)).all())


def other_input(node: onnx.NodeProto, name: str) -> str:
    """The input of a node of two that is not `name`."""
    return str(node.input[1] if node.input[0] == name else node.input[0])


def shift_of(constant: npt.NDArray[Any]) -> int | None:
    """The t where the constant is the scalar 2^-t with t > 0, else None."""
    if (
        constant.size != 1
        or not 0 < (value := float(constant.ravel()[0])) < 1
        or not log2(value).is_integer()
    ):
        return None
    return -int(log2(value))


def power_of(constant: npt.NDArray[Any]) -> tuple[int, int] | None:
    """The sign s and the t of a scalar s·2^-t with t >= 0, None of any other."""
    value = float(constant.ravel()[0]) if constant.size == 1 else 0.0
    if not 0 < abs(value) <= 1 or not log2(abs(value)).is_integer():
        return None
    return (1 if value > 0 else -1), -int(log2(abs(value)))
