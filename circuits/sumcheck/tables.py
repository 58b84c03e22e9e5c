"""Tables over a hypercube: eq, dot products, folds (section 1). Variable i is bit i of the index; variable 0 is bound first."""

from collections.abc import Sequence

import numpy as np

from .arena import Arena
from .field import ONE, K, Words, add, kernel, kmul, mul, sub, words
from .threads import spread, summed

_0 = np.uint64(0)
_SPLIT = 14  # from this many variables on a table is the product of two halves' tables


@kernel
def _eq(point: Words, c0: np.uint64, c1: np.uint64, out: Words) -> None:
    out[0, 0] = c0
    out[0, 1] = c1
    size = 1
    for i in range(point.shape[0]):
        for j in range(size):
            x0, x1 = kmul(out[j, 0], out[j, 1], point[i, 0], point[i, 1])
            out[j + size, 0] = x0
            out[j + size, 1] = x1
            out[j, 0] = sub(out[j, 0], x0)
            out[j, 1] = sub(out[j, 1], x1)
        size *= 2


@kernel
def _outer_add(low: int, high: int, rows: Words, columns: Words, out: Words) -> None:
    size = columns.shape[0]
    for h in range(low, high):
        for j in range(size):
            x, y = kmul(rows[h, 0], rows[h, 1], columns[j, 0], columns[j, 1])
            out[h * size + j, 0] = add(out[h * size + j, 0], x)
            out[h * size + j, 1] = add(out[h * size + j, 1], y)


@kernel
def _dot(low: int, high: int, a: Words, b: Words) -> tuple[np.uint64, np.uint64]:
    s0 = _0
    s1 = _0
    for i in range(low, high):
        s0 = add(s0, mul(a[i], b[i, 0]))
        s1 = add(s1, mul(a[i], b[i, 1]))
    return s0, s1


@kernel
def _dot_eq(low: int, high: int, a: Words, rows: Words, columns: Words) -> tuple[np.uint64, np.uint64]:
    size = columns.shape[0]
    r0 = _0
    r1 = _0
    for h in range(low, high):
        s0 = _0
        s1 = _0
        for j in range(size):
            s0 = add(s0, mul(a[h * size + j], columns[j, 0]))
            s1 = add(s1, mul(a[h * size + j], columns[j, 1]))
        x, y = kmul(s0, s1, rows[h, 0], rows[h, 1])
        r0 = add(r0, x)
        r1 = add(r1, y)
    return r0, r1


@kernel
def fold(low: int, high: int, a: Words, r0: np.uint64, r1: np.uint64, out: Words) -> None:
    """`out[i] = (1 - r) a[2i] + r a[2i+1]` over K."""
    for i in range(low, high):
        x0 = a[2 * i, 0]
        x1 = a[2 * i, 1]
        y0, y1 = kmul(sub(a[2 * i + 1, 0], x0), sub(a[2 * i + 1, 1], x1), r0, r1)
        out[i, 0] = add(x0, y0)
        out[i, 1] = add(x1, y1)


@kernel
def _pair_sums(low: int, high: int, a: Words, out: Words) -> None:
    for i in range(low, high):
        out[i, 0] = add(a[2 * i, 0], a[2 * i + 1, 0])
        out[i, 1] = add(a[2 * i, 1], a[2 * i + 1, 1])


def u64(value: K) -> tuple[np.uint64, np.uint64]:
    """An element of K as a kernel takes it."""
    return np.uint64(value[0]), np.uint64(value[1])


def eq_table(point: Sequence[K], factor: K = ONE, out: Words | None = None) -> Words:
    """`factor * eq(point, x)` for every x; in `out` if given."""
    if out is None:
        out = np.empty((1 << len(point), 2), np.uint64)
    if len(point) >= _SPLIT:
        out[:] = 0
        add_eq(point, factor, out)
    else:
        _eq(words(point), *u64(factor), out)
    return out


def add_outer(rows: Words, columns: Words, out: Words) -> None:
    """`out[h * len(columns) + j] += rows[h] * columns[j]`."""
    enough = 2 if len(rows) * len(columns) >= 1 << 12 else 1 << 62
    spread(_outer_add, len(rows), rows, columns, out, worthwhile=enough)


def add_eq(point: Sequence[K], factor: K, out: Words) -> None:
    """`out += factor * eq(point, .)`, as an outer product of two halves."""
    half = len(point) // 2
    add_outer(eq_table(point[half:], factor), eq_table(point[:half]), out)


def dot(a: Words, b: Words) -> K:
    """The inner product of a vector over F with one over K."""
    return summed(spread(_dot, len(a), a, b, worthwhile=1 << 14))[0]


def evaluate(a: Words, point: Sequence[K]) -> K:
    """The multilinear extension of a vector over F at a point."""
    half = len(point) // 2
    rows = eq_table(point[half:])
    enough = 2 if len(point) >= 12 else 1 << 62
    return summed(spread(_dot_eq, len(rows), a, rows, eq_table(point[:half]), worthwhile=enough))[0]


def folded(a: Words, r: K) -> Words:
    """A vector over K with variable 0 bound to r."""
    out = np.empty((len(a) // 2, 2), np.uint64)
    spread(fold, len(out), a, *u64(r), out)
    return out


def suffix_tables(point: Sequence[K], arena: Arena) -> list[Words]:
    """The eq tables of `point[1:]`, `point[2:]`, ..., `point[n:]`, each half as long as the one before."""
    tables = [eq_table(point[1:], out=arena.elements(1 << len(point) - 1))]
    for _ in range(len(point) - 1):
        out = arena.elements(len(tables[-1]) // 2)
        spread(_pair_sums, len(out), tables[-1], out)
        tables.append(out)
    return tables
