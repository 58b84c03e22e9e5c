"""How a lowered network writes integers: the nodes that EZKL gets, or those of the twin, and the cells that they take.

EZKL gives each tensor a *label*: it reads the integer v at label l as v / 2^l.
What a number is worth here is our own matter: v / 2^f with the *fraction* f. See `fixed_point`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ..plan import PARAM_SCALE
from .graph import Array

_BASE = log(float(np.float32(np.e)))
"""EZKL's exponential has e in binary32 for its base."""
_ABSURD = 2.0**60
"""What the twin has for infinity, beyond every table."""


@dataclass(frozen=True, slots=True)
class Number:
    """A tensor in the written network: its name there, its label and its fraction, and how many elements it has.

    `bias`: a vector along the last axis, in true units, that is still to be added.
    """

    name: str
    label: int
    fraction: int
    size: int
    bias: Array | None = None


class Integers:
    """The network being written; with `exact`, its twin on integers in binary64.

    `high`: the label at which values are halved. `tabled`: of the twin, what tables take, and the layers' names in the given
    network. `tables`: each table by operator and label. `cells`: of the main columns, those of products left out.
    """

    def __init__(self, *, exact: bool, high: int) -> None:
        self.exact, self.high = exact, high
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.tabled: dict[str, str] = {}
        self.tables: set[tuple[str, int]] = set()
        self.cells = 0
        self._added = count()
        self._relabelled: dict[tuple[str, int, int], str] = {}

    def emit(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Write a node; gives the name of its result."""
        name = output or f"n{len(self.nodes)}"
        node = helper.make_node(
            operator, list(inputs), [name], name=f"{operator}_{len(self.nodes)}", **attributes
        )
        self.nodes.append(node)
        return name

    def constant(self, array: npt.NDArray[Any], dtype: np.dtype[Any] | None = None) -> str:
        """A constant for one place: EZKL quantises each anew for the place where it stands."""
        name = f"c{len(self.constants)}"
        kind = dtype or np.dtype(np.float64 if self.exact else np.float32)
        self.constants.append(numpy_helper.from_array(np.asarray(array, kind), name))
        return name

    def shape(self, shape: Sequence[int]) -> str:
        """A constant shape, or axes."""
        return self.constant(np.array(shape), np.dtype("i8"))

    def steps(self, number: Number, label: int) -> int:
        """How many cells each element takes to get to another label."""
        if (number.name, number.label, label) in self._relabelled:
            return 0
        down = max(0, -((number.label - label) // PARAM_SCALE)) if number.label > label else 0
        return down + (number.label + down * PARAM_SCALE < label)

    def at_label(self, number: Number, label: int) -> Number:
        """The same integers at another label: one cell up, and one for each step of -PARAM_SCALE down."""
        key = (number.name, number.label, label)
        if number.label == label:
            return number
        if key in self._relabelled:
            return replace(number, name=self._relabelled[key], label=label)
        self.cells += self.steps(number, label) * number.size
        name, current = number.name, number.label
        while current > label:
            # The integer 1 at PARAM_SCALE.
            if not self.exact:
                name = self.emit("Mul", [name, self.constant(np.array([2.0**-PARAM_SCALE]))])
            current += PARAM_SCALE
        if current < label and not self.exact:
            name = self.emit("Mul", [name, self.constant(np.array([2.0 ** (current - label)]))])
        self._relabelled[key] = name
        return replace(number, name=name, label=label)

    def halved(self, number: Number, times: int, layer: str) -> Number:
        """So many bits less, each halving rounded half up."""
        if times <= 0:
            return number
        high = self.at_label(number, self.high)
        name = high.name
        if self.exact:
            self.tabled.setdefault(name, layer)
        self.tables.add(("HardSwish", self.high))
        self.cells += times * number.size
        for _ in range(times):
            if self.exact:
                half = self.emit("Mul", [name, self.constant(np.array(0.5))])
                name = self._rounded(half)
            else:
                name = self.emit("HardSwish", [name])
        return replace(high, name=name, fraction=high.fraction - times)

    def at_fraction(self, number: Number, fraction: int, layer: str) -> Number:
        """With just so many fraction bits, at any label."""
        if (more := fraction - number.fraction) <= 0:
            return self.halved(number, -more, layer)
        self.cells += number.size
        factor = np.array([2.0**more * (1 if self.exact else 2.0**-PARAM_SCALE)])
        made = self.emit("Mul", [number.name, self.constant(factor)])
        return replace(number, name=made, label=number.label + PARAM_SCALE, fraction=fraction)

    def plus_constant(self, number: Number, bias: npt.NDArray[Any]) -> Number:
        """A constant in true units added."""
        values = np.asarray(bias, np.float64) * 2.0**number.fraction
        # EZKL quantises a constant for its place only where it is used once, and its importer merges equal ones: so each is
        # another by a bit of its binary32 form. The twin counts alike, so that it has the same integers.
        values = values * (1 + next(self._added) * 2.0**-23)
        constant = self.constant(away_from_zero(values) if self.exact else values * 2.0**-number.label)
        self.cells += number.size
        return replace(number, name=self.emit("Add", [number.name, constant]))

    def minus(self, first: Number, second: Number) -> Number:
        """The difference of two numbers of one label and fraction, of the first one's shape."""
        self.cells += first.size
        return replace(first, name=self.emit("Sub", [first.name, second.name]))

    def negative(self, number: Number) -> Number:
        """Less than zero what was more."""
        self.cells += number.size
        return replace(number, name=self.emit("Neg", [number.name]))

    def settled(self, number: Number) -> Number:
        """The number with its bias added.

        As late as it can be, since one Add then does for several, and EZKL's importer would move Gathers before it and use
        one constant in several places, which EZKL quantises wrongly.
        """
        return number if number.bias is None else self.plus_constant(replace(number, bias=None), number.bias)

    def alike(self, numbers: Sequence[Number], layer: str) -> list[Number]:
        """The same values, all with the smallest fraction among them and one label."""
        if len({(number.label, number.fraction) for number in numbers}) == 1:
            return list(numbers)
        fraction = min(number.fraction for number in numbers)
        return [
            self.at_label(self.halved(number, number.fraction - fraction, layer), self.high)
            for number in numbers
        ]

    def pair(self, first: Number, second: Number, size: int, label: int) -> tuple[Number, Number]:
        """Two factors at those labels from which their product of `size` elements gets to `label` in the fewest cells."""

        def choices(number: Number, other: Number) -> set[int]:
            known = {to for name, _, to in self._relabelled if name == number.name}
            return {number.label, label - other.label, *known}

        def cost(labels: tuple[int, int]) -> int:
            product = replace(first, name="", label=sum(labels), size=size)
            pairs = zip((first, second, product), (*labels, label), strict=True)
            return sum(self.steps(number, to) * number.size for number, to in pairs)

        every = [(one, other) for one in choices(first, second) for other in choices(second, first)]
        best = min(every, key=lambda labels: (cost(labels), labels != (first.label, second.label), labels))
        return self.at_label(first, best[0]), self.at_label(second, best[1])

    def clipped(self, number: Number, layer: str) -> Number:
        """The larger of the number and 0, by table."""
        low = self.at_label(number, self.high + PARAM_SCALE)
        if self.exact:
            self.tabled[low.name] = layer
        self.tables.add(("HardSwish", low.label))
        self.cells += number.size
        made = self.emit("Relu" if self.exact else "HardSwish", [low.name])
        return replace(low, name=made)

    def looked_up(self, operator: str, number: Number, layer: str) -> Number:
        """A table of a curve, of what the label says a number is."""
        self.tables.add((operator, number.label))
        self.cells += number.size
        if not self.exact:
            return replace(number, name=self.emit(operator, [number.name]))
        self.tabled[number.name] = layer
        true = self.emit("Mul", [number.name, self.constant(np.array(2.0**-number.label))])
        curve = self._curve(operator, true)
        scaled = self.emit("Mul", [curve, self.constant(np.array(2.0**number.label))])
        return replace(number, name=self._rounded(scaled))

    def _curve(self, operator: str, true: str) -> str:
        """The curve in binary64, finite."""
        if operator == "Exp":
            true = self.emit("Mul", [true, self.constant(np.array(_BASE))])
        if operator == "Erf":
            # onnxruntime has it in binary32 only.
            narrow = self.emit("Cast", [true], to=onnx.TensorProto.FLOAT)
            return self.emit("Cast", [self.emit("Erf", [narrow])], to=onnx.TensorProto.DOUBLE)
        if operator == "Log":
            true = self.emit("Max", [true, self.constant(np.array(0.0))])
        curve = self.emit(operator, [true])
        if operator not in ("Exp", "Log"):
            return curve
        limits = [self.constant(np.array(sign * _ABSURD)) for sign in (-1, 1)]
        return self.emit("Clip", [curve, *limits])

    def _rounded(self, name: str) -> str:
        return self.emit("Floor", [self.emit("Add", [name, self.constant(np.array(0.5))])])


def away_from_zero(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Half away from zero, as EZKL rounds constants."""
    rounded: npt.NDArray[np.float64] = np.copysign(np.floor(np.abs(values) + 0.5), values)
    return rounded
