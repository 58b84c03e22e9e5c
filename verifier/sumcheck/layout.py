"""Where the columns of the witness and the weights lie in their committed polynomials (specification, section 4).

Both are vectors of a power of two of cells; each block is aligned to its size, and what is in no block is zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeVar

from verinfer.verifier.errors import Malformed

from .description import Description, Layer
from .multilinear import bits, padded_bits

MOST_WITNESS_BITS = 26
MOST_LEAF_BITS = 25
"""Logarithm of the leaves of a tree."""
MOST_CODE_BITS = 32
"""Logarithm of a codeword's length: the field has no larger subgroup of a power of two."""
MOST_STEPS = 1 << 22
"""Cells that a verifier's functionals walk over, layer by layer: some seconds.

Section 3.1 alone admits descriptions of 25 KB whose check, even of a false proof of a few KB, takes a quarter of an hour.
"""


Name = TypeVar("Name", str, int)


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive cells: 2^bits of them from `offset`, which is a multiple of their number."""

    offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class Limb:
    """A column of t-bit digits, or what is left of them: cell · 2^position is its part of the number."""

    block: Block
    position: int
    width: int
    """Each cell is in [0, 2^width)."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A layer's four numbers at each cell of its padded output: activation, excess below and above, remainder; in limbs."""

    activation: Limb
    below: tuple[Limb, ...]
    above: tuple[Limb, ...]
    remainder: tuple[Limb, ...]

    @property
    def limbs(self) -> tuple[Limb, ...]:
        """All of them."""
        return (self.activation, *self.below, *self.above, *self.remainder)


@dataclass(frozen=True, slots=True)
class Stack:
    """Blocks of several layers, by layer, in one virtual vector of 2^bits cells."""

    blocks: Mapping[int, Block]
    bits: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of variables."""

    weights: int
    """V_w, of the polynomial of weights."""
    witness: int
    """V, of the polynomial of columns."""
    leaves: int
    """V1: both trees have 2^(V1 + log_blowup) leaves, and the larger polynomial wider ones."""

    @property
    def largest(self) -> int:
        """Vmax."""
        return max(self.weights, self.witness)


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything about places that follows from D."""

    multiplicities: Block
    columns: Mapping[int, Columns]
    """By layer; none for the final one."""
    weights: Mapping[int, Block]
    biases: Mapping[int, Block]
    clamped: Stack
    """The zerocheck's: layers whose accumulator may leave their activation's range."""
    products: Stack
    """The inner product's: weighted layers, by their reduction."""
    sizes: Sizes


def place(sizes: Iterable[tuple[Name, int]]) -> tuple[dict[Name, Block], int]:
    """Blocks by name for their sizes in bits, largest first and then by name; and the bits of an index into them all."""
    blocks: dict[Name, Block] = {}
    end = 0
    for name, size in sorted(sizes, key=lambda entry: (-entry[1], entry[0])):
        blocks[name] = Block(end, size)
        end += 1 << size
    return blocks, bits(end) if end else 0


def limb_widths(width: int, limb: int) -> list[int]:
    """The widths of the limbs of a number of `width` bits; none for 0."""
    return [min(limb, width - start) for start in range(0, width, limb)]


def layout(description: Description) -> Layout:
    """The places of a description; raises `Malformed` (``description-malformed``) where it is larger than the protocol allows."""
    widths = {
        index: _column_widths(layer, description.limb) for index, layer in enumerate(description.layers)
    }
    sizes = [("m", description.limb + 1)]
    for index, layer in enumerate(description.layers):
        cells = padded_bits(layer.outputs)
        sizes += [
            (f"{group}{number}.{index}", cells)
            for group, limbs in widths[index].items()
            for number in range(len(limbs))
        ]
    blocks, used = place(sizes)
    weight_blocks, weights_used = place(weight_sizes(description))
    commitment = description.commitment
    fewest = commitment.final_bits + 1
    witness, weights = max(used, fewest), max(weights_used, fewest)
    leaves = max(commitment.final_bits, min(witness, weights) - commitment.leaf_bits)
    weighted = [index for index, layer in enumerate(description.layers) if layer.weighted]
    found = Layout(
        multiplicities=blocks["m"],
        columns={
            index: _columns(index, groups, blocks, description.limb)
            for index, groups in widths.items()
            if groups
        },
        weights={index: weight_blocks[f"W{index}"] for index in weighted},
        biases={index: weight_blocks[f"b{index}"] for index in weighted},
        clamped=_clamped(description),
        products=Stack(
            *place((index, padded_bits(description.layers[index].reduction)) for index in weighted)
        ),
        sizes=Sizes(weights, witness, leaves),
    )
    _require_provable(found, commitment.log_blowup)
    if sum(map(_steps, description.layers)) > MOST_STEPS:
        raise _malformed("layers over too many cells for a verifier")
    return found


def weight_sizes(description: Description) -> list[tuple[str, int]]:
    """The blocks of P_w, by name: ``W<layer>`` and ``b<layer>``."""
    sizes: list[tuple[str, int]] = []
    for index, layer in enumerate(description.layers):
        if layer.weighted:
            rows = bits(layer.channels)
            sizes += [(f"W{index}", padded_bits(layer.reduction) + rows), (f"b{index}", rows)]
    return sizes


def _column_widths(layer: Layer, limb: int) -> dict[str, list[int]]:
    if layer.rescaling is None:
        return {}
    rescaling = layer.rescaling
    return {
        "Y": [rescaling.width],
        "N": limb_widths(rescaling.below, limb),
        "H": limb_widths(rescaling.above, limb),
        "R": limb_widths(rescaling.shift, limb),
    }


def _columns(index: int, groups: dict[str, list[int]], blocks: Mapping[str, Block], limb: int) -> Columns:
    def limbs(group: str) -> tuple[Limb, ...]:
        return tuple(
            Limb(blocks[f"{group}{number}.{index}"], number * limb, width)
            for number, width in enumerate(groups[group])
        )

    return Columns(limbs("Y")[0], limbs("N"), limbs("H"), limbs("R"))


def _clamped(description: Description) -> Stack:
    return Stack(
        *place(
            (index, padded_bits(layer.outputs))
            for index, layer in enumerate(description.layers)
            if layer.rescaling is not None and layer.rescaling.saturates
        )
    )


def _require_provable(found: Layout, log_blowup: int) -> None:
    if found.products.bits < 1:
        raise _malformed("too few products for a sum")
    if found.sizes.witness > MOST_WITNESS_BITS:
        raise _malformed("too many cells of witness")
    if found.sizes.leaves + log_blowup > MOST_LEAF_BITS:
        raise _malformed("too many leaves")
    if found.sizes.largest + log_blowup > MOST_CODE_BITS:
        raise _malformed("too many cells for a codeword")


def _steps(layer: Layer) -> int:
    """Cells of one dimension, or of a flattened tensor, that the functional of what a layer consumes walks over."""
    match layer.operation:
        case "conv":
            return layer.kernel * sum(layer.outputs[1:]) + sum(layer.inputs[1:])
        case "pool":
            return sum(layer.inputs[1:])
        case "gemm" if len(layer.inputs) > 1:
            return prod(layer.inputs)
        case _:
            return 0


def _malformed(what: str) -> Malformed:
    return Malformed("description-malformed", f"The network has {what}.", field="layers")
