"""Range checks of every cell at once: logUp by fractional GKR (section 6.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .arena import Arena
from .field import (
    ONE,
    K,
    Words,
    add,
    element,
    inlined,
    k_add,
    k_inverse,
    k_mul,
    k_scale,
    k_sub,
    kernel,
    kmul,
    sub,
    words,
)
from .functionals import WITNESS, Claim, Equal, Term
from .layout import Block
from .rounds import at, bound, bound_last
from .tables import evaluate, suffix_tables, u64
from .threads import spread, summed
from .transcript import Transcript
from .witness import Tags, negated, range_table

_0 = np.uint64(0)
_1 = np.uint64(1)


@dataclass(frozen=True, slots=True)
class Fractions:
    """Numerators, over F or K, and denominators, over K, of one level; a node's children differ in the top bit."""

    numerators: Words
    denominators: Words


def prove_lookup(
    transcript: Transcript, cells: Words, tags: Tags, multiplicities: Block, arena: Arena
) -> list[Claim]:
    """Prove that each cell outside the block of multiplicities is below `2^tag`; claims C0 and C1."""
    with arena.scope():
        levels = _levels(transcript, cells, tags, multiplicities, arena)
        roots = [*levels[0].numerators, *levels[0].denominators]
        transcript.send_k(b"root", *(element(root) for root in roots))
        point = [transcript.challenge(b"tau")]
        for level in levels[1:]:
            point = _descend(transcript, level, point, arena)
    low = point[: multiplicities.bits]
    transcript.send_k(b"lu", evaluate(cells, point), evaluate(cells[multiplicities.cells], low))
    everything = Block(0, len(point))
    return [
        [Term(WITNESS, everything, Equal(point), ONE)],
        [Term(WITNESS, multiplicities, Equal(low), ONE)],
    ]


def _levels(transcript: Transcript, cells: Words, tags: Tags, block: Block, arena: Arena) -> list[Fractions]:
    """All levels, from that of two nodes down to the leaves."""
    alpha, beta = transcript.challenges(b"logup", 2)
    values, widths = range_table(block.bits - 1)
    # alpha - beta * k for each width k
    starts = words([k_sub(alpha, k_scale(beta, width)) for width in range(block.bits)])
    size = len(cells)
    leaves = Fractions(arena.vector(size), arena.elements(size))
    leaves.numerators[:] = _1
    leaves.numerators[block.cells] = negated(cells[block.cells])
    spread(_denominators, size, cells, tags, starts, leaves.denominators)
    _denominators(0, len(values), values, widths, starts, leaves.denominators[block.cells])
    levels = [leaves]
    while size > 2:
        size //= 2
        level = Fractions(arena.elements(size), arena.elements(size))
        below = levels[-1]
        spread(
            _add_fractions, size, below.numerators, below.denominators, level.numerators, level.denominators
        )
        levels.append(level)
    return levels[::-1]


def _descend(transcript: Transcript, level: Fractions, point: Sequence[K], arena: Arena) -> list[K]:
    """From a claim about a level's parents at a point to one about the level."""
    lam = transcript.challenge(b"lam")
    with arena.scope():
        values, bound_to = _sumcheck(transcript, level, point, lam, arena)
    transcript.send_k(b"gf", *values)
    return [*bound_to, transcript.challenge(b"tau")]


def _sumcheck(
    transcript: Transcript, level: Fractions, point: Sequence[K], lam: K, arena: Arena
) -> tuple[list[K], list[K]]:
    """The sumcheck of `lam (p0 q1 + p1 q0) + q0 q1`: the four extensions' values, and the challenges."""
    numerators, denominators = level.numerators, level.denominators
    eq = suffix_tables(point, arena)
    size = len(denominators) // 2
    cross, both, cross_leading, both_leading = summed(
        spread(_first_round, size // 2, numerators, denominators, eq[0])
    )
    message = k_add(k_mul(lam, cross), both), k_add(k_mul(lam, cross_leading), both_leading)
    challenges = [_exchange(transcript, message)]
    if size == 2:
        halves = (numerators[:2], numerators[2:], denominators[:2], denominators[2:])
        return [bound_last(half, challenges[0]) for half in halves], challenges
    size //= 2
    table = arena.elements(4, size)
    constant, leading = summed(
        spread(_first_fold, size // 2, numerators, denominators, *u64(lam), *u64(challenges[0]), eq[1], table)
    )
    while True:
        challenges.append(_exchange(transcript, (constant, leading)))
        if size == 2:
            scaled = [bound_last(row, challenges[-1]) for row in table]
            unscale = k_inverse(lam)
            return [k_mul(unscale, scaled[0]), k_mul(unscale, scaled[1]), *scaled[2:]], challenges
        size //= 2
        out = arena.elements(4, size)
        weights = eq[len(challenges)]
        constant, leading = summed(spread(_fold, size // 2, table, *u64(challenges[-1]), weights, out))
        table = out


def _exchange(transcript: Transcript, message: tuple[K, K]) -> K:
    transcript.send_k(b"g", *message)
    return transcript.challenge(b"r")


@kernel
def _denominators(low: int, high: int, cells: Words, tags: Tags, starts: Words, out: Words) -> None:
    for i in range(low, high):
        out[i, 0] = sub(starts[tags[i], 0], cells[i])
        out[i, 1] = starts[tags[i], 1]


@kernel
def _add_fractions(low: int, high: int, p: Words, q: Words, p_out: Words, q_out: Words) -> None:
    half = p_out.shape[0]
    for i in range(low, high):
        x0, x1 = at(p, i)
        y0, y1 = at(p, i + half)
        a0, a1 = kmul(x0, x1, q[i + half, 0], q[i + half, 1])
        b0, b1 = kmul(y0, y1, q[i, 0], q[i, 1])
        p_out[i, 0] = add(a0, b0)
        p_out[i, 1] = add(a1, b1)
        q_out[i, 0], q_out[i, 1] = kmul(q[i, 0], q[i, 1], q[i + half, 0], q[i + half, 1])


@kernel
def _first_round(low: int, high: int, p: Words, q: Words, eq: Words) -> tuple[np.uint64, ...]:
    """Weighted sums of `p0 q1 + p1 q0` and of `q0 q1`: their constants, then their leading coefficients."""
    half = q.shape[0] // 2
    a0 = _0
    a1 = _0
    b0 = _0
    b1 = _0
    c0 = _0
    c1 = _0
    d0 = _0
    d1 = _0
    for i in range(low, high):
        e0 = eq[i, 0]
        e1 = eq[i, 1]
        j = 2 * i
        k = j + half
        p00, p01 = at(p, j)
        p10, p11 = at(p, k)
        q00 = q[j, 0]
        q01 = q[j, 1]
        q10 = q[k, 0]
        q11 = q[k, 1]
        x0, x1 = kmul(p00, p01, q10, q11)
        y0, y1 = kmul(p10, p11, q00, q01)
        x0, x1 = kmul(add(x0, y0), add(x1, y1), e0, e1)
        a0 = add(a0, x0)
        a1 = add(a1, x1)
        x0, x1 = kmul(q00, q01, q10, q11)
        x0, x1 = kmul(x0, x1, e0, e1)
        b0 = add(b0, x0)
        b1 = add(b1, x1)
        x0, x1 = at(p, j + 1)
        y0, y1 = at(p, k + 1)
        p00, p01, p10, p11 = sub(x0, p00), sub(x1, p01), sub(y0, p10), sub(y1, p11)
        q00, q01 = sub(q[j + 1, 0], q00), sub(q[j + 1, 1], q01)
        q10, q11 = sub(q[k + 1, 0], q10), sub(q[k + 1, 1], q11)
        x0, x1 = kmul(p00, p01, q10, q11)
        y0, y1 = kmul(p10, p11, q00, q01)
        x0, x1 = kmul(add(x0, y0), add(x1, y1), e0, e1)
        c0 = add(c0, x0)
        c1 = add(c1, x1)
        x0, x1 = kmul(q00, q01, q10, q11)
        x0, x1 = kmul(x0, x1, e0, e1)
        d0 = add(d0, x0)
        d1 = add(d1, x1)
    return a0, a1, b0, b1, c0, c1, d0, d1


@inlined
def _gate(
    p00: np.uint64,
    p01: np.uint64,
    p10: np.uint64,
    p11: np.uint64,
    q00: np.uint64,
    q01: np.uint64,
    q10: np.uint64,
    q11: np.uint64,
) -> tuple[np.uint64, np.uint64]:
    """`p0 q1 + p1 q0 + q0 q1`, lam being in p already: two products."""
    x0, x1 = kmul(add(p00, q00), add(p01, q01), q10, q11)
    y0, y1 = kmul(p10, p11, q00, q01)
    return add(x0, y0), add(x1, y1)


@inlined
def _terms(
    t: Words, i: int, e0: np.uint64, e1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Pair i's part of the message."""
    j = 2 * i
    k = j + 1
    x0, x1 = _gate(
        t[0, j, 0], t[0, j, 1], t[1, j, 0], t[1, j, 1], t[2, j, 0], t[2, j, 1], t[3, j, 0], t[3, j, 1]
    )
    y0, y1 = _gate(
        sub(t[0, k, 0], t[0, j, 0]),
        sub(t[0, k, 1], t[0, j, 1]),
        sub(t[1, k, 0], t[1, j, 0]),
        sub(t[1, k, 1], t[1, j, 1]),
        sub(t[2, k, 0], t[2, j, 0]),
        sub(t[2, k, 1], t[2, j, 1]),
        sub(t[3, k, 0], t[3, j, 0]),
        sub(t[3, k, 1], t[3, j, 1]),
    )
    x0, x1 = kmul(x0, x1, e0, e1)
    y0, y1 = kmul(y0, y1, e0, e1)
    return x0, x1, y0, y1


@kernel
def _first_fold(
    low: int,
    high: int,
    p: Words,
    q: Words,
    l0: np.uint64,
    l1: np.uint64,
    r0: np.uint64,
    r1: np.uint64,
    eq: Words,
    out: Words,
) -> tuple[np.uint64, ...]:
    """Bind variable 0 of both halves, numerators times lam: `out` is uint64[4, n, 2]; and the next message."""
    size = out.shape[1]
    s0 = _0
    s1 = _0
    t0 = _0
    t1 = _0
    for i in range(low, high):
        for j in range(2 * i, 2 * i + 2):
            for half in range(2):
                x0, x1 = bound(p, j + half * size, r0, r1)
                out[half, j, 0], out[half, j, 1] = kmul(x0, x1, l0, l1)
                out[2 + half, j, 0], out[2 + half, j, 1] = bound(q, j + half * size, r0, r1)
        a0, a1, b0, b1 = _terms(out, i, eq[i, 0], eq[i, 1])
        s0 = add(s0, a0)
        s1 = add(s1, a1)
        t0 = add(t0, b0)
        t1 = add(t1, b1)
    return s0, s1, t0, t1


@kernel
def _fold(
    low: int, high: int, table: Words, r0: np.uint64, r1: np.uint64, eq: Words, out: Words
) -> tuple[np.uint64, ...]:
    """Bind variable 0 of the four rows; and the next message."""
    s0 = _0
    s1 = _0
    t0 = _0
    t1 = _0
    for i in range(low, high):
        for row in range(4):
            for j in range(2 * i, 2 * i + 2):
                x0 = table[row, 2 * j, 0]
                x1 = table[row, 2 * j, 1]
                y0, y1 = kmul(sub(table[row, 2 * j + 1, 0], x0), sub(table[row, 2 * j + 1, 1], x1), r0, r1)
                out[row, j, 0] = add(x0, y0)
                out[row, j, 1] = add(x1, y1)
        a0, a1, b0, b1 = _terms(out, i, eq[i, 0], eq[i, 1])
        s0 = add(s0, a0)
        s1 = add(s1, a1)
        t0 = add(t0, b0)
        t1 = add(t1, b1)
    return s0, s1, t0, t1
