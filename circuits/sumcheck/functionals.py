"""Claims on committed vectors: sums of aligned blocks against weight vectors (section 5).

The prover adds the weights into a table; their multilinear extensions are the verifier's to evaluate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .description import Dims, Integers, bits
from .field import K, Words, add, kernel, kmul
from .layout import Block
from .tables import add_eq, add_outer, eq_table
from .witness import valid_cells

WEIGHTS, WITNESS = 0, 1
"""Which polynomial a term is about; a key proof has its limbs in the witness's place."""


class Functional(Protocol):
    """Weights over a block."""

    def add_to(self, target: Words, factor: K) -> None:
        """`target += factor * weights`."""


@dataclass(frozen=True, slots=True)
class Term:
    """`coefficient * <weights, block>`."""

    polynomial: int
    block: Block
    weights: Functional
    coefficient: K


Claim = Sequence[Term]
"""The terms of one claim; its value is the verifier's to compute."""


@dataclass(frozen=True, slots=True)
class Equal:
    """`eq(point, i)`."""

    point: Sequence[K]

    def add_to(self, target: Words, factor: K) -> None:
        """`target += factor * weights`."""
        add_eq(self.point, factor, target)


@dataclass(frozen=True, slots=True)
class Rows:
    """`eq(low, i) * eq(high, o)` on the first `rows` rows o, and 0 on the rest: what reads no padding row of weights."""

    low: Sequence[K]
    high: Sequence[K]
    rows: int

    def add_to(self, target: Words, factor: K) -> None:
        """`target += factor * weights`."""
        rows = eq_table(self.high, factor)[: self.rows]
        add_outer(rows, eq_table(self.low), target[: self.rows << len(self.low)])


@dataclass(frozen=True, slots=True)
class Flat:
    """`eq(point, i)` where i is a valid cell's row-major number, and 0 on padding."""

    point: Sequence[K]
    dims: Dims

    def add_to(self, target: Words, factor: K) -> None:
        """`target += factor * weights`."""
        count = int(np.prod(self.dims))
        dense = np.zeros_like(target)
        for coordinate in range(2):
            values = eq_table(self.point, factor)[:count, coordinate].reshape(self.dims)
            valid_cells(dense[:, coordinate], self.dims)[:] = values
        _add(dense, target)


@dataclass(frozen=True, slots=True)
class Pool:
    """The sum over windows of k times k, at a point of the pooled tensor: coordinates of channels, rows, columns."""

    channels: Sequence[K]
    rows: Sequence[K]
    columns: Sequence[K]
    k: int
    given: Dims
    out: Dims

    def add_to(self, target: Words, factor: K) -> None:
        """`target += factor * weights`."""
        rows, columns = (
            _windows(point, self.k, given, out)
            for point, given, out in zip((self.rows, self.columns), self.given[1:], self.out[1:], strict=True)
        )
        add_outer(eq_table(self.channels, factor), _outer(rows, columns), target)


@dataclass(frozen=True, slots=True)
class Convolution:
    """im2col contracted with a point of the output (rows, columns) and one of the reduction (kernel, channels)."""

    kernel: Sequence[K]
    channels: Sequence[K]
    rows: Sequence[K]
    columns: Sequence[K]
    k: int
    stride: int
    pad: int
    given: Dims
    out: Dims

    def add_to(self, target: Words, factor: K) -> None:
        """`target += factor * weights`."""
        spatial = np.zeros((1 << bits(self.given[1]), 1 << bits(self.given[2]), 2), np.uint64)
        sizes = np.array([*self.given[1:], *self.out[1:]])
        tables = (eq_table(self.kernel), eq_table(self.rows), eq_table(self.columns))
        _spread_back(*tables, sizes, self.k, self.stride, self.pad, spatial)
        add_outer(eq_table(self.channels, factor), spatial.reshape(-1, 2), target)


def _windows(point: Sequence[K], k: int, given: int, out: int) -> Words:
    """`eq(point, i // k)` for each position inside a window, 0 elsewhere, over the padded axis."""
    axis = np.zeros((1 << bits(given), 2), np.uint64)
    axis[: out * k] = np.repeat(eq_table(point)[:out], k, axis=0)
    return axis


def _outer(rows: Words, columns: Words) -> Words:
    out = np.zeros((len(rows) * len(columns), 2), np.uint64)
    add_outer(rows, columns, out)
    return out


@kernel
def _add(source: Words, target: Words) -> None:
    for i in range(source.shape[0]):
        target[i, 0] = add(target[i, 0], source[i, 0])
        target[i, 1] = add(target[i, 1], source[i, 1])


@kernel
def _spread_back(
    window: Words, rows: Words, columns: Words, sizes: Integers, k: int, stride: int, pad: int, out: Words
) -> None:
    """`out[q, r] += window[i, j] rows[p] columns[s]` wherever `q = stride p + i - pad` and `r = stride s + j - pad`."""
    line = np.empty((out.shape[1], 2), np.uint64)
    for i in range(k):
        line[:] = 0
        for j in range(k):
            for s in range(sizes[3]):
                r = stride * s + j - pad
                if 0 <= r < sizes[1]:
                    x, y = kmul(window[i * k + j, 0], window[i * k + j, 1], columns[s, 0], columns[s, 1])
                    line[r, 0] = add(line[r, 0], x)
                    line[r, 1] = add(line[r, 1], y)
        for p in range(sizes[2]):
            q = stride * p + i - pad
            if 0 <= q < sizes[0]:
                for r in range(sizes[1]):
                    x, y = kmul(rows[p, 0], rows[p, 1], line[r, 0], line[r, 1])
                    out[q, r, 0] = add(out[q, r, 0], x)
                    out[q, r, 1] = add(out[q, r, 1], y)
