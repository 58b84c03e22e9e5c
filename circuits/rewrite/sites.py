"""Where a network can be lowered to fixed-point numbers: what its nodes are, and which of its tensors have a choice.

`fixed_point` writes what is found here.
"""

from __future__ import annotations

from math import log2, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from ..plan import Product, Sites, Value
from .derived import derive

_CURVES = ("Sigmoid", "Tanh")
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
    values: list[Value] = []
    for node in model.graph.node:
        if (taken := graph.taken(node)) is None:
            continue
        value = Value(taken, given=taken in graph.inputs, curve=node.op_type != "MatMul")
        if value.name not in [known.name for known in values]:
            values.append(value)
        if node.op_type != "MatMul":
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
    return Sites(tuple(products), tuple(values))


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
        variable = self.variable_inputs(node)
        if node.op_type in ("Constant", "Relu", *_CURVES):
            return True
        if node.op_type in _COMPARISONS:
            only_cast = all(user.op_type == "Cast" for user in self._users.get(node.output[0], ()))
            exact = node.op_type != "Equal" or self.integral(variable[0] if variable else "")
            return variable == [node.input[0]] and only_cast and exact
        if node.op_type == "Cast":
            made = self._producer.get(node.input[0])
            return made is not None and made.op_type in _COMPARISONS
        if node.op_type in _INDEX or node.op_type == "MaxPool":
            # Axes as attributes are of old operator sets, which have no HardSwish.
            return variable == [node.input[0]] and not {"axes", "starts"} & {
                item.name for item in node.attribute
            }
        if node.op_type == "MatMul":
            matrix = self.constants.get(node.input[1])
            return (
                variable == [node.input[0]] and matrix is not None and matrix.ndim == 2 and bool(matrix.any())
            )
        if node.op_type == "Add":
            return len(variable) >= 1
        if node.op_type == "Sub":
            return bool(variable) and variable[0] == node.input[0]
        if node.op_type == "Concat":
            others = [self.constants[name] for name in node.input if name in self.constants]
            return len(variable) >= 1 and not any(array.any() for array in others)
        if node.op_type == "Mul":
            return len(variable) == 2 or (
                len(variable) == 1 and shift_of(self.constants[other_input(node, variable[0])]) is not None
            )
        return False

    def taken(self, node: onnx.NodeProto) -> str | None:
        """The tensor that must not have too many bits for this node's sake: halving happens there."""
        variable = self.variable_inputs(node)
        if node.op_type == "MatMul" or node.op_type in _CURVES:
            return self.source(variable[0])
        if node.op_type == "Mul" and len(variable) == 2:
            return str(node.output[0])
        return None

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
