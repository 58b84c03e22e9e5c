"""The numbers of a fixed-point lowering, and where a network has room for them; plain values, without onnx.

What they mean is in `rewrite.fixed_point`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, log2
from typing import Any

PARAM_SCALE = -44
"""EZKL's ``param_scale`` for every lowered network."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of a lowering, in the graph's own order.

    `scale`: fraction bits of the inputs. `weights`: exponent b of each product's matrix.
    `fractions`: of each value (`Value` says what it is).
    `paired`: products of one row that get a second, empty row, so that Freivalds' argument applies to them.
    """

    scale: int
    weights: tuple[int, ...]
    fractions: tuple[int, ...]
    paired: tuple[bool, ...]

    def to_json(self) -> dict[str, Any]:
        """As a child takes it."""
        return asdict(self)


def read_plan(plan: Mapping[str, Any]) -> Plan:
    """A plan from its plain values."""
    return Plan(
        plan["scale"], tuple(plan["weights"]), tuple(plan["fractions"]), tuple(map(bool, plan["paired"]))
    )


@dataclass(frozen=True, slots=True)
class Product:
    """One product with a constant matrix: rows, terms and columns, and its largest weight.

    `integral`: whole weights of whole numbers, which need no fraction.
    """

    name: str
    rows: int
    terms: int
    columns: int
    largest: float
    integral: bool

    def exponent(self, bits: int) -> int:
        """The weight exponent at which the largest weight takes `bits` bits, its sign included."""
        if self.integral:
            return 0
        return bits - 1 - ceil(log2(self.largest))


EXPONENTIALS, CURVES = "", "\0"
"""The names of numbers that belong to no tensor: the labels of all exponentials and logarithms, and of all other curves, so that
each has one table."""


@dataclass(frozen=True, slots=True)
class Value:
    """A number of a plan that belongs to a tensor, by its `kind`.

    "value": products take it, or two tensors multiplied make it; it is halved to this fraction.
    "curve": only curves take it; it is halved to this fraction.
    "state": curves take it, and others too.
    "squares": the sum of squares has this fraction.
    "power": what an exponential makes has this fraction, be it of a Softmax or of a tensor to a power.
    "sum": the sum of a Softmax has this fraction.
    "label": see `EXPONENTIALS` and `CURVES`.
    """

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Sites:
    """Where a plan has choices."""

    products: tuple[Product, ...]
    values: tuple[Value, ...]
