"""Branch and saturation: the zerocheck that leaves the clamp as the only choice (section 6.4)."""

from __future__ import annotations

import numpy as np

from .arena import Arena
from .field import K, Words, add, inlined, k_scale, kernel, kmul, mul, sub
from .functionals import WITNESS, Claim, Equal, Term
from .layout import Layout, column
from .rounds import bound_last
from .tables import suffix_tables, u64
from .threads import spread, summed
from .transcript import Transcript

_0 = np.uint64(0)
_STACKED = ("Y", "N", "H")


def prove_clamp(transcript: Transcript, layout: Layout, cells: Words, arena: Arena) -> list[Claim]:
    """Prove `Y N + gam (HI - Y) H = 0` everywhere; claims C2, C3, C4, or none where no layer can leave its range."""
    if not layout.clamped:
        return []
    tau = transcript.challenges(b"zc", layout.clamped_bits)
    gamma = transcript.challenge(b"gam")
    with arena.scope():
        point, values = _sumcheck(transcript, _stack(layout, cells, arena), tau, gamma, arena)
    transcript.send_k(b"zf", *values)
    return [_claim(layout, group, point) for group in _STACKED]


def _stack(layout: Layout, cells: Words, arena: Arena) -> Words:
    """Y, N, H and the largest Y of each clamped layer over F, uint64[4, 2^clamped_bits]."""
    stack = arena.vector(4 << layout.clamped_bits).reshape(4, -1)
    stack[:] = 0
    for index, block in layout.clamped.items():
        stage = layout.stages[index]
        for name, group, number, _ in stage.columns():
            if group in _STACKED:
                scale = np.uint64(1 << number * layout.limb_bits)
                row = stack[_STACKED.index(group), block.cells]
                _add_scaled(cells[layout.witness[name].cells], scale, row)
        stack[3, block.cells] = (1 << stage.layer["a"]) - 1
    return stack


def _sumcheck(
    transcript: Transcript, table: Words, tau: list[K], gamma: K, arena: Arena
) -> tuple[list[K], list[K]]:
    """The challenges, and the values of Y, N and H there."""
    size = table.shape[1]
    if size == 1:
        return [], [(int(row[0]), 0) for row in table[:3]]
    eq = suffix_tables(tau, arena)
    message = summed(spread(_first_round, size // 2, table, *u64(gamma), eq[0]))
    point: list[K] = []
    while True:
        transcript.send_k(b"z", *message)
        point.append(transcript.challenge(b"r"))
        if size == 2:
            return point, [bound_last(row, point[-1]) for row in table[:3]]
        size //= 2
        out = arena.elements(4, size)
        weights = eq[len(point)]
        message = summed(spread(_fold, size // 2, table, *u64(point[-1]), *u64(gamma), weights, out))
        table = out


def _claim(layout: Layout, group: str, point: list[K]) -> Claim:
    """The stack of one group at a point, as terms on its columns."""
    terms = []
    for index, block in layout.clamped.items():
        for number in range(len(layout.stages[index].limbs[group])):
            coefficient = k_scale(block.selector(point), 1 << number * layout.limb_bits)
            columns = layout.witness[column(group, number, index)]
            terms.append(Term(WITNESS, columns, Equal(point[: block.bits]), coefficient))
    return terms


@kernel
def _add_scaled(source: Words, scale: np.uint64, out: Words) -> None:
    for i in range(source.shape[0]):
        out[i] = add(out[i], mul(source[i], scale))


@inlined
def _entry(t: Words, row: int, i: int) -> tuple[np.uint64, np.uint64]:
    if t.ndim == 2:
        return t[row, i], _0
    return t[row, i, 0], t[row, i, 1]


@inlined
def _difference(t: Words, row: int, i: int) -> tuple[np.uint64, np.uint64]:
    a0, a1 = _entry(t, row, i)
    b0, b1 = _entry(t, row, i + 1)
    return sub(b0, a0), sub(b1, a1)


@inlined
def _gate(
    y0: np.uint64,
    y1: np.uint64,
    n0: np.uint64,
    n1: np.uint64,
    h0: np.uint64,
    h1: np.uint64,
    top0: np.uint64,
    top1: np.uint64,
    g0: np.uint64,
    g1: np.uint64,
) -> tuple[np.uint64, np.uint64]:
    a0, a1 = kmul(y0, y1, n0, n1)
    b0, b1 = kmul(sub(top0, y0), sub(top1, y1), h0, h1)
    b0, b1 = kmul(b0, b1, g0, g1)
    return add(a0, b0), add(a1, b1)


@inlined
def _terms(
    t: Words, i: int, g0: np.uint64, g1: np.uint64, e0: np.uint64, e1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Pair i's part of the message."""
    y0, y1 = _entry(t, 0, 2 * i)
    n0, n1 = _entry(t, 1, 2 * i)
    h0, h1 = _entry(t, 2, 2 * i)
    top0, top1 = _entry(t, 3, 2 * i)
    a0, a1 = _gate(y0, y1, n0, n1, h0, h1, top0, top1, g0, g1)
    y0, y1 = _difference(t, 0, 2 * i)
    n0, n1 = _difference(t, 1, 2 * i)
    h0, h1 = _difference(t, 2, 2 * i)
    top0, top1 = _difference(t, 3, 2 * i)
    b0, b1 = _gate(y0, y1, n0, n1, h0, h1, top0, top1, g0, g1)
    a0, a1 = kmul(a0, a1, e0, e1)
    b0, b1 = kmul(b0, b1, e0, e1)
    return a0, a1, b0, b1


@kernel
def _first_round(
    low: int, high: int, table: Words, g0: np.uint64, g1: np.uint64, eq: Words
) -> tuple[np.uint64, ...]:
    s0 = _0
    s1 = _0
    t0 = _0
    t1 = _0
    for i in range(low, high):
        a0, a1, b0, b1 = _terms(table, i, g0, g1, eq[i, 0], eq[i, 1])
        s0 = add(s0, a0)
        s1 = add(s1, a1)
        t0 = add(t0, b0)
        t1 = add(t1, b1)
    return s0, s1, t0, t1


@kernel
def _fold(
    low: int,
    high: int,
    table: Words,
    r0: np.uint64,
    r1: np.uint64,
    g0: np.uint64,
    g1: np.uint64,
    eq: Words,
    out: Words,
) -> tuple[np.uint64, ...]:
    """Bind variable 0 of the four rows; and the next message."""
    s0 = _0
    s1 = _0
    t0 = _0
    t1 = _0
    for i in range(low, high):
        for row in range(4):
            for j in range(2 * i, 2 * i + 2):
                x0, x1 = _entry(table, row, 2 * j)
                y0, y1 = _difference(table, row, 2 * j)
                y0, y1 = kmul(y0, y1, r0, r1)
                out[row, j, 0] = add(x0, y0)
                out[row, j, 1] = add(x1, y1)
        a0, a1, b0, b1 = _terms(out, i, g0, g1, eq[i, 0], eq[i, 1])
        s0 = add(s0, a0)
        s1 = add(s1, a1)
        t0 = add(t0, b0)
        t1 = add(t1, b1)
    return s0, s1, t0, t1
