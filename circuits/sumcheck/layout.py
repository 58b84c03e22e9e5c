"""Where everything lies: blocks of P_x and P_w, stacks, and sizes of the commitment scheme (sections 4, 6.4, 6.5, 6.7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

from .description import Description, Dims, Layer, bits, input_dims, out_dims, source_of
from .field import K, eq_bits

GROUPS = ("Y", "N", "H", "R")
"""The columns of a layer: the activation, what was below its range, what was above, the remainder."""

MULTIPLICITIES = "m"

Name = TypeVar("Name", str, int)


@dataclass(frozen=True, slots=True)
class Block:
    """An aligned run of `2^bits` cells."""

    offset: int
    bits: int

    @property
    def cells(self) -> slice:
        """Its cells in the whole vector."""
        return slice(self.offset, self.offset + (1 << self.bits))

    def selector(self, point: Sequence[K]) -> K:
        """`eq` of the block's number with the coordinates that choose a block."""
        return eq_bits(self.offset >> self.bits, point[self.bits :])


@dataclass(frozen=True, slots=True)
class Stage:
    """A layer with its sizes. `limbs` holds the widths of each group's limbs, none for the final layer.

    `reduction_bits` is the padded length of what a weighted layer sums over; `outputs` counts its rows of weights.
    """

    index: int
    layer: Layer
    source: int
    given: Dims
    out: Dims
    bits: int
    limbs: Mapping[str, tuple[int, ...]]
    reduction: Dims
    outputs: int

    @property
    def operation(self) -> str:
        """The layer's ``op``."""
        return str(self.layer["op"])

    @property
    def weighted(self) -> bool:
        """Whether the layer has weights."""
        return self.operation != "pool"

    @property
    def reduction_bits(self) -> int:
        """Variables of what a weighted layer sums over."""
        return sum(bits(size) for size in self.reduction)

    @property
    def scale(self) -> int:
        """``M``, which a final layer doesn't have."""
        return int(self.layer.get("M", 1))

    @property
    def low(self) -> int:
        """``lo``, what the Y column leaves out."""
        return int(self.layer.get("lo", 0))

    def columns(self) -> Iterable[tuple[str, str, int, int]]:
        """Name, group, number of the limb and width of each column."""
        for group, widths in self.limbs.items():
            for number, width in enumerate(widths):
                yield column(group, number, self.index), group, number, width

    def point(self, star: Sequence[K]) -> list[list[K]]:
        """The layer's prefix of the common point, for each output dimension."""
        return split(self.out, star[: self.bits])

    def output_point(self, star: Sequence[K]) -> list[K]:
        """The part of it that chooses a row of weights."""
        return self.point(star)[1 if self.operation == "linear" else 0]


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that follows from D.

    `clamped` and `products` are the stacks of sections 6.4 and 6.5, by layer; `levels` the oracles as (variables, folds).
    """

    description: Description
    stages: tuple[Stage, ...]
    witness: Mapping[str, Block]
    witness_bits: int
    weights: Mapping[str, Block]
    weights_bits: int
    clamped: Mapping[int, Block]
    clamped_bits: int
    products: Mapping[int, Block]
    product_bits: int
    leaves_bits: int
    levels: tuple[tuple[int, int], ...]

    @property
    def limb_bits(self) -> int:
        """``t``."""
        return int(self.description["t"])

    @property
    def blowup_bits(self) -> int:
        """``log_blowup``."""
        return int(self.description["pcs"]["log_blowup"])

    @property
    def final_bits(self) -> int:
        """``final_bits``."""
        return int(self.description["pcs"]["final_bits"])


def column(group: str, number: int, layer: int) -> str:
    """The name of a limb's block."""
    return f"{group}{number}.{layer}"


def place(sizes: Iterable[tuple[Name, int]]) -> tuple[dict[Name, Block], int]:
    """Blocks by size, largest first, then by name, one after the other; and the bits of an index into all of them."""
    placed: dict[Name, Block] = {}
    offset = 0
    for name, size_bits in sorted(sizes, key=lambda entry: (-entry[1], entry[0])):
        placed[name] = Block(offset, size_bits)
        offset += 1 << size_bits
    return placed, bits(offset) if offset else 0


def split(dims: Sequence[int], point: Sequence[K]) -> list[list[K]]:
    """The coordinates of each dimension; the last dimension has the first ones."""
    parts: list[list[K]] = []
    at = 0
    for size in reversed(dims):
        parts.append(list(point[at : at + bits(size)]))
        at += bits(size)
    return parts[::-1]


def limbs(width: int, limb_bits: int) -> tuple[int, ...]:
    """A value's width in limbs, the last one shorter; none of width 0."""
    whole, rest = divmod(width, limb_bits)
    return (limb_bits,) * whole + ((rest,) if rest else ())


def layout_of(description: Description) -> Layout:
    """The layout of a valid D."""
    stages = tuple(_stages(description))
    final = description["pcs"]["final_bits"]
    columns = [(name, stage.bits) for stage in stages for name, _, _, _ in stage.columns()]
    witness, witness_bits = place([(MULTIPLICITIES, description["t"] + 1), *columns])
    weights, weights_bits = place(
        [
            entry
            for stage in stages
            if stage.weighted
            for entry in (
                (f"W{stage.index}", stage.reduction_bits + bits(stage.outputs)),
                (f"b{stage.index}", bits(stage.outputs)),
            )
        ]
    )
    witness_bits, weights_bits = max(witness_bits, final + 1), max(weights_bits, final + 1)
    clamped, clamped_bits = place(
        [(stage.index, stage.bits) for stage in stages if stage.limbs.get("N") or stage.limbs.get("H")]
    )
    products, product_bits = place(
        [(stage.index, stage.reduction_bits) for stage in stages if stage.weighted]
    )
    leaves_bits = max(final, min(witness_bits, weights_bits) - description["pcs"]["leaf_bits"])
    return Layout(
        description,
        stages,
        witness,
        witness_bits,
        weights,
        weights_bits,
        clamped,
        clamped_bits,
        products,
        product_bits,
        leaves_bits,
        tuple(_levels(leaves_bits, final, description["pcs"]["fold"])),
    )


def _levels(variables: int, final: int, fold: int) -> Iterable[tuple[int, int]]:
    while variables > final:
        folds = min(fold, variables - final)
        yield variables, folds
        variables -= folds


def _stages(description: Description) -> Iterable[Stage]:
    outputs = out_dims(description)
    for index, layer in enumerate(description["layers"]):
        given, out = input_dims(description, index, outputs), outputs[index]
        widths = (
            {"Y": layer["a"], "N": layer["nb"], "H": layer["hb"], "R": layer["s"]} if "a" in layer else {}
        )
        reduction: Dims = ()
        match layer["op"]:
            case "conv":
                reduction, rows = (given[0], layer["k"] ** 2), layer["cout"]
            case "linear":
                reduction, rows = given[1:], layer["nout"]
            case "gemm":
                reduction, rows = (prod(given),), layer["nout"]
            case _:
                rows = 0
        yield Stage(
            index,
            layer,
            source_of(description, index),
            given,
            out,
            sum(bits(size) for size in out),
            {group: limbs(width, description["t"]) for group, width in widths.items()},
            reduction,
            rows,
        )
