"""Linear functionals of committed blocks: what every claim of the protocol is made of (specification, section 5).

A functional is a vector of weights over the cells of a block.
Its value at a point is that of the weights' multilinear extension, in closed form; on the public input it is a plain sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

from .field import ONE, ZERO, K, add, dot, dot_integers, mul, scale, total
from .layout import Block
from .multilinear import Dims, Point, below, eq, eq_below, eq_bits, eq_table, split, valid


class Functional(Protocol):
    """Weights over the cells of a block."""

    def at(self, point: Point) -> K:
        """The weights' extension at a point with as many coordinates as the block has bits."""
        ...


class Reading(Functional, Protocol):
    """A functional of an activation: it can be applied to what is public, too."""

    def on_input(self, values: Sequence[int]) -> K:
        """Its value on the network's input, unpadded and row-major."""
        ...

    def on_valid(self) -> K:
        """Its value on the tensor that is 1 on every unpadded cell and 0 on the others."""
        ...


@dataclass(frozen=True, slots=True)
class Term:
    """``coefficient · <functional, block>``."""

    polynomial: int
    """Which of the two committed ones."""
    block: Block
    coefficient: K
    functional: Functional

    def at(self, point: Point) -> K:
        """The extension of its weights over the whole polynomial."""
        size = self.block.bits
        place = selector(self.block, point)
        return mul(self.coefficient, mul(place, self.functional.at(point[:size])))


@dataclass(frozen=True, slots=True)
class Claim:
    """That the terms sum to the value."""

    terms: tuple[Term, ...]
    value: K


def selector(block: Block, point: Point) -> K:
    """``eqbits(offset >> bits, …)``: which block of its size the upper coordinates of a point select."""
    return eq_bits(block.offset >> block.bits, point[block.bits :])


@dataclass(frozen=True, slots=True)
class Equal:
    """The value of a tensor's extension: ``w[i] = eq(where, i)``, on padding as well."""

    where: Point
    dims: Dims

    def at(self, point: Point) -> K:
        """The weights' extension at a point of the block."""
        return eq(self.where, point)

    def on_input(self, values: Sequence[int]) -> K:
        """Its value on the network's input."""
        return tensor_at(self.dims, values, self.where)

    def on_valid(self) -> K:
        """Its value on the indicator of the unpadded cells."""
        return valid(self.dims, self.where)


@dataclass(frozen=True, slots=True)
class Cells:
    """The value of a block's extension, whatever its cells mean: ``w[i] = eq(where, i)``."""

    where: Point

    def at(self, point: Point) -> K:
        """The weights' extension at a point of the block."""
        return eq(self.where, point)


@dataclass(frozen=True, slots=True)
class Rows:
    """The same for a block of weights, of which only the first `count` rows are read (section 6.5).

    Rows are the high bits; a bias has a `reduction` of no coordinates.
    """

    reduction: Point
    rows: Point
    count: int

    def at(self, point: Point) -> K:
        """The weights' extension at a point of the block."""
        low = len(self.reduction)
        return mul(eq(self.reduction, point[:low]), eq_below(self.count, self.rows, point[low:]))


@dataclass(frozen=True, slots=True)
class Flattened:
    """A tensor's unpadded cells in row-major order: ``w[i_1 .. i_r] = eq(where, rowmajor(i))``, 0 on padding."""

    where: Point
    dims: Dims

    def at(self, point: Point) -> K:
        """The weights' extension at a point of the block."""
        return _contract(self.dims, eq_table(self.where)[: prod(self.dims)], point)

    def on_input(self, values: Sequence[int]) -> K:
        """Its value on the network's input."""
        return dot_integers(eq_table(self.where)[: prod(self.dims)], values)

    def on_valid(self) -> K:
        """Its value on the indicator of the unpadded cells."""
        return below(prod(self.dims), self.where)


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a convolution, summed over its output cells with the weights of a point there.

    ``w[c,h,w] = eq(channels, c) · sum eq(window, kh·k + kw) eq(rows, ph) eq(columns, pw)`` over those with
    ``h = stride·ph + kh - pad`` and ``w = stride·pw + kw - pad``.
    """

    window: Point
    channels: Point
    rows: Point
    columns: Point
    kernel: int
    stride: int
    pad: int
    inputs: Dims
    outputs: Dims

    def at(self, point: Point) -> K:
        """The weights' extension at a point of the block."""
        channels, rows, columns = split(self.inputs, point)
        down, across = self._sums(eq_table(rows), eq_table(columns))
        return mul(eq(self.channels, channels), self._combine(down, across))

    def on_input(self, values: Sequence[int]) -> K:
        """Its value on the network's input."""
        channels, height, width = self.inputs
        (down, rows), (across, columns) = self._axes()
        window, factors = eq_table(self.window), eq_table(self.channels)
        found = ZERO
        for channel in range(channels):
            start = channel * height * width
            lines = [values[at : at + width] for at in range(start, start + height * width, width)]
            summed = ZERO
            for offset, (met, reached) in enumerate(columns):
                # Along a row first: there the values are still integers.
                sums = [dot_integers(across[met], line[reached]) for line in lines]
                by_row = [dot(down[outputs], sums[inputs]) for outputs, inputs in rows]
                summed = add(summed, dot(window[offset : self.kernel**2 : self.kernel], by_row))
            found = add(found, mul(factors[channel], summed))
        return found

    def on_valid(self) -> K:
        """Its value on the indicator of the unpadded cells."""
        _, height, width = self.inputs
        down, across = self._sums([ONE] * height, [ONE] * width)
        return mul(below(self.inputs[0], self.channels), self._combine(down, across))

    def _sums(self, rows: Sequence[K], columns: Sequence[K]) -> list[list[K]]:
        """For both axes and each offset in the window the weights of its inputs there, with what is given of these."""
        return [
            [dot(weights[outputs], given[inputs]) for outputs, inputs in meetings]
            for (weights, meetings), given in zip(self._axes(), (rows, columns), strict=True)
        ]

    def _axes(self) -> list[tuple[list[K], list[tuple[slice, slice]]]]:
        """For both axes the weights of the outputs, and for each offset in the window which of them meet which inputs.

        Only slices of whole tables are kept: a window may reach over a million cells. Padding is left out.
        """
        axes = []
        for axis, point in ((1, self.rows), (2, self.columns)):
            meetings = []
            for offset in range(self.kernel):
                shift = offset - self.pad
                first = max(0, -(shift // self.stride))
                end = min(self.outputs[axis], (self.inputs[axis] - 1 - shift) // self.stride + 1)
                number, start = max(0, end - first), first * self.stride + shift
                reached = slice(start, start + number * self.stride, self.stride)
                meetings.append((slice(first, first + number), reached))
            axes.append((eq_table(point), meetings))
        return axes

    def _combine(self, down: list[K], across: list[K]) -> K:
        window = eq_table(self.window)
        k = self.kernel
        return dot(down, [dot(window[row * k : (row + 1) * k], across) for row in range(k)])


@dataclass(frozen=True, slots=True)
class Pooled:
    """Sums over k × k windows, as a point of the output weighs them; what no whole window covers is left out."""

    where: Point
    kernel: int
    inputs: Dims
    outputs: Dims

    def at(self, point: Point) -> K:
        """The weights' extension at a point of the block."""
        channels, rows, columns = split(self.outputs, self.where)
        own_channels, own_rows, own_columns = split(self.inputs, point)
        down = self._axis(rows, own_rows, self.outputs[1])
        across = self._axis(columns, own_columns, self.outputs[2])
        return mul(eq(channels, own_channels), mul(down, across))

    def on_input(self, values: Sequence[int]) -> K:
        """Its value on the network's input."""
        _, height, width = self.inputs
        _, rows, columns = self.outputs
        k = self.kernel
        sums = [
            sum(
                sum(values[start : start + k])
                for start in range(
                    (c * height + row * k) * width + column * k, (c * height + row * k + k) * width, width
                )
            )
            for c in range(self.inputs[0])
            for row in range(rows)
            for column in range(columns)
        ]
        return tensor_at(self.outputs, sums, self.where)

    def on_valid(self) -> K:
        """Its value on the indicator of the unpadded cells."""
        return scale(valid(self.outputs, self.where), self.kernel**2)

    def _axis(self, point: Point, own: Point, count: int) -> K:
        k, table = self.kernel, eq_table(own)
        windows = [total(table[start * k : start * k + k]) for start in range(count)]
        return dot(eq_table(point)[:count], windows)


def tensor_at(dims: Dims, values: Sequence[int], point: Point) -> K:
    """The extension of a padded tensor of integers at a point; `values` are unpadded and row-major."""
    size = dims[-1]
    low = (size - 1).bit_length()
    table = eq_table(point[:low])[:size]
    rows = [dot_integers(table, values[start : start + size]) for start in range(0, len(values), size)]
    return _contract(dims[:-1], rows, point[low:])


def _contract(dims: Dims, values: list[K], point: Point) -> K:
    for size, part in zip(reversed(dims), reversed(split(dims, point)), strict=True):
        table = eq_table(part)[:size]
        values = [dot(table, values[start : start + size]) for start in range(0, len(values), size)]
    return values[0]
