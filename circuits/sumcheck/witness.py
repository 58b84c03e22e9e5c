"""P_w and P_x: what the prover commits to (section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from verinfer.verifier.errors import CouldNotCheck

from .description import Dims, Integers, Weights, bits, finish
from .field import P, Words, from_signed, kernel
from .layout import MULTIPLICITIES, Block, Layout, Stage
from .reference import Step, trace
from .weights import weight_shapes

Tags = NDArray[np.uint8]
Cells = TypeVar("Cells", Words, Tags)


@dataclass(frozen=True, slots=True)
class Witness:
    """The input and the claimed output, both int64 in D's dimensions, and the cells of P_x."""

    x: Integers
    y: Integers
    cells: Words


def valid_cells(cells: Cells, dims: Dims) -> Cells:
    """A padded tensor's cells as a view of its unpadded part."""
    return cells.reshape([1 << bits(size) for size in dims])[tuple(slice(size) for size in dims)]


def check_weights(layout: Layout, weights: Weights) -> None:
    """Raises `CouldNotCheck` (``no-circuit``) unless each weighted layer has arrays of D's shape and within D's width.

    Nor may any admissible input make a layer leave its range by more than D's ``nb`` and ``hb`` hold: it could not be proven.
    """
    wanted = weight_shapes(layout)
    if set(wanted) != set(weights):
        raise CouldNotCheck("no-circuit", f"The network has weights {sorted(wanted)}, not {sorted(weights)}.")
    for name, shape in wanted.items():
        width = layout.description["wb" if name.startswith("W") else "bb"]
        array, most = weights[name], 1 << (width - 1)
        if array.dtype != np.int64 or array.shape != shape:
            raise CouldNotCheck("no-circuit", f"{name} is not an array of int64 with shape {list(shape)}.")
        if array.min() < -most or array.max() >= most:
            raise CouldNotCheck("no-circuit", f"A number of {name} takes more than D's {width} bits.")
    needed = finish(layout.description, weights)["layers"]
    for stage, least in zip(layout.stages[:-1], needed, strict=False):
        if stage.layer["nb"] < least["nb"] or stage.layer["hb"] < least["hb"]:
            raise CouldNotCheck(
                "no-circuit", f"Layer {stage.index} can leave its range by more than nb and hb hold."
            )


def pack_weights(layout: Layout, weights: Weights) -> Words:
    """P_w of integer weights."""
    cells = np.zeros(1 << layout.weights_bits, np.uint64)
    for stage in layout.stages:
        if stage.weighted:
            bias, matrix = weights[f"b{stage.index}"], weights[f"W{stage.index}"]
            dims = (stage.outputs, *stage.reduction)
            valid_cells(cells[layout.weights[f"b{stage.index}"].cells], dims[:1])[:] = from_signed(bias)
            valid_cells(cells[layout.weights[f"W{stage.index}"].cells], dims)[:] = from_signed(
                matrix.reshape(dims)
            )
    return cells


def groups(stage: Stage, step: Step) -> dict[str, Integers]:
    """The values of a layer's column groups, unpadded."""
    layer = stage.layer
    high = layer["lo"] + (1 << layer["a"]) - 1
    return {
        "Y": step.out - layer["lo"],
        "N": np.maximum(layer["lo"] - step.q, 0),
        "H": np.maximum(step.q - high, 0),
        "R": layer["M"] * step.acc + (1 << (layer["s"] - 1)) - (step.q << layer["s"]),
    }


def witness(layout: Layout, tags: Tags, weights: Weights, x: Integers) -> Witness:
    """The witness for one input, with `tags_of` the layout; raises as `reference.trace`."""
    steps = trace(layout.description, weights, x)
    cells = np.zeros(1 << layout.witness_bits, np.uint64)
    for stage, step in zip(layout.stages, steps, strict=True):
        if not stage.limbs:
            continue
        values = groups(stage, step)
        for name, group, number, width in stage.columns():
            limb = (values[group] >> (number * layout.limb_bits)) & ((1 << width) - 1)
            valid_cells(cells[layout.witness[name].cells], stage.out)[:] = limb
    count_slots(cells, tags, layout.witness[MULTIPLICITIES])
    given = np.asarray(x).astype(np.int64).reshape(layout.stages[0].given)
    return Witness(given, steps[-1].out, cells)


def tags_of(layout: Layout) -> Tags:
    """The width of each cell of P_x."""
    tags = np.zeros(1 << layout.witness_bits, np.uint8)
    for stage in layout.stages:
        for name, _, _, width in stage.columns():
            tags[layout.witness[name].cells] = width
    return tags


def count_slots(cells: Words, tags: Tags, block: Block) -> None:
    """Write into a block how many of the cells outside it hit each slot of the range table: value v of width k, slot `2^k + v`.

    A value too large for its width hits none, and there is no proof of it.
    """
    out = cells[block.cells]
    out[:] = 0
    _count(cells, tags, 0, block.offset, out)
    _count(cells, tags, block.cells.stop, len(cells), out)


@kernel
def _count(cells: Words, tags: Tags, low: int, high: int, out: Words) -> None:
    for i in range(low, high):
        start = np.uint64(1) << np.uint64(tags[i])
        if cells[i] < start:
            out[start + cells[i]] += np.uint64(1)


@lru_cache(maxsize=16)
def range_table(limb_bits: int) -> tuple[Words, Tags]:
    """Value and width of each slot of the range table of section 4."""
    slots = np.arange(2 << limb_bits)
    widths = np.array([max(0, int(slot).bit_length() - 1) for slot in slots], np.uint8)
    values = slots - (1 << widths.astype(np.int64))
    values[0] = 0
    return values.astype(np.uint64), widths


def negated(cells: Words) -> Words:
    """`-c` in F of each cell."""
    return np.where(cells == 0, cells, np.uint64(P) - cells)
