"""Sumcheck rounds (section 6.1): a round's message is the constant and the leading coefficient of a quadratic.

Vectors are over F, uint64[n], until a challenge is bound, and over K, uint64[n, 2], from then on; kernels take both.
Binding a variable and summing up for the next message is one pass (section 12).
"""

from __future__ import annotations

import numpy as np

from .arena import Arena
from .field import K, Words, add, between, element, inlined, kernel, kmul, mul, sub
from .tables import u64
from .threads import WORTHWHILE, spread, summed
from .transcript import Transcript

_0 = np.uint64(0)


@inlined
def at(a: Words, i: int) -> tuple[np.uint64, np.uint64]:
    """Entry i as an element of K."""
    if a.ndim == 1:
        return a[i], _0
    return a[i, 0], a[i, 1]


@inlined
def bound(a: Words, i: int, r0: np.uint64, r1: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Entry i after variable 0 is bound to r."""
    if a.ndim == 1:
        x = a[2 * i]
        difference = sub(a[2 * i + 1], x)
        return add(x, mul(difference, r0)), mul(difference, r1)
    x0 = a[2 * i, 0]
    x1 = a[2 * i, 1]
    y0, y1 = kmul(sub(a[2 * i + 1, 0], x0), sub(a[2 * i + 1, 1], x1), r0, r1)
    return add(x0, y0), add(x1, y1)


def bound_last(a: Words, r: K) -> K:
    """The one entry that is left of a vector of two."""
    if a.ndim == 1:
        return between((int(a[0]), 0), (int(a[1]), 0), r)
    return between(element(a[0]), element(a[1]), r)


@kernel
def product_round(low: int, high: int, a: Words, b: Words) -> tuple[np.uint64, ...]:
    """A round's message for `sum a b`, over pairs of entries."""
    s0 = _0
    s1 = _0
    t0 = _0
    t1 = _0
    for i in range(low, high):
        x0, x1 = at(a, 2 * i)
        y0, y1 = at(a, 2 * i + 1)
        v0 = b[2 * i, 0]
        v1 = b[2 * i, 1]
        p0, p1 = kmul(x0, x1, v0, v1)
        s0 = add(s0, p0)
        s1 = add(s1, p1)
        p0, p1 = kmul(sub(y0, x0), sub(y1, x1), sub(b[2 * i + 1, 0], v0), sub(b[2 * i + 1, 1], v1))
        t0 = add(t0, p0)
        t1 = add(t1, p1)
    return s0, s1, t0, t1


@kernel
def product_fold(
    low: int, high: int, a: Words, b: Words, r0: np.uint64, r1: np.uint64, a_out: Words, b_out: Words
) -> tuple[np.uint64, ...]:
    """Bind variable 0 of both to r; the next round's message, over pairs of entries that come out."""
    s0 = _0
    s1 = _0
    t0 = _0
    t1 = _0
    for i in range(low, high):
        x0, x1 = bound(a, 2 * i, r0, r1)
        y0, y1 = bound(a, 2 * i + 1, r0, r1)
        v0, v1 = bound(b, 2 * i, r0, r1)
        w0, w1 = bound(b, 2 * i + 1, r0, r1)
        a_out[2 * i, 0] = x0
        a_out[2 * i, 1] = x1
        a_out[2 * i + 1, 0] = y0
        a_out[2 * i + 1, 1] = y1
        b_out[2 * i, 0] = v0
        b_out[2 * i, 1] = v1
        b_out[2 * i + 1, 0] = w0
        b_out[2 * i + 1, 1] = w1
        p0, p1 = kmul(x0, x1, v0, v1)
        s0 = add(s0, p0)
        s1 = add(s1, p1)
        p0, p1 = kmul(sub(y0, x0), sub(y1, x1), sub(w0, v0), sub(w1, v1))
        t0 = add(t0, p0)
        t1 = add(t1, p1)
    return s0, s1, t0, t1


@kernel
def _inner(low: int, high: int, a: Words, b: Words) -> tuple[np.uint64, ...]:
    s0 = _0
    s1 = _0
    for i in range(low, high):
        x, y = kmul(a[i, 0], a[i, 1], b[i, 0], b[i, 1])
        s0 = add(s0, x)
        s1 = add(s1, y)
    return s0, s1


def inner(a: Words, b: Words) -> K:
    """`sum a b` of two vectors over K."""
    return summed(spread(_inner, len(a), a, b))[0]


@kernel
def weighted_round(low: int, high: int, a: Words, weights: Words) -> tuple[np.uint64, ...]:
    """`sum w[i] a[2i]` and `sum w[i] a[2i+1]`: a round of BaseFold, whose message is t(0) and t(1)."""
    s0 = _0
    s1 = _0
    t0 = _0
    t1 = _0
    for i in range(low, high):
        e0 = weights[i, 0]
        e1 = weights[i, 1]
        p0, p1 = kmul(a[2 * i, 0], a[2 * i, 1], e0, e1)
        s0 = add(s0, p0)
        s1 = add(s1, p1)
        p0, p1 = kmul(a[2 * i + 1, 0], a[2 * i + 1, 1], e0, e1)
        t0 = add(t0, p0)
        t1 = add(t1, p1)
    return s0, s1, t0, t1


class Halving:
    """Both vectors of `sum a b` while variable after variable is bound; `b`, over K, is used up.

    `b` is bound in its own place, and `a` in half of its size: of large networks two copies of each would be most of the memory.
    """

    def __init__(self, a: Words, b: Words, arena: Arena) -> None:
        self.a, self.b = a, b
        self._half = arena.elements(max(1, len(a) // 2))

    def message(self) -> tuple[K, K]:
        """The first round's message."""
        constant, leading = summed(spread(product_round, len(self.a) // 2, self.a, self.b))
        return constant, leading

    def bind(self, r: K) -> tuple[K, K]:
        """Bind variable 0 of vectors with four entries or more; the next message."""
        half = len(self.a) // 2
        a, b = self._half[:half], self.b[:half]
        parts: list[tuple[np.uint64, ...]] = []
        done, end = 0, half // 2
        while done < end:
            # What comes out at [m, 2m) is made of what was at [2m, 4m), so threads may share such a stretch.
            # The first is too short to be shared.
            stretch = min(end, 2 * done or WORTHWHILE - 1)
            parts += spread(product_fold, stretch, self.a, self.b, *u64(r), a, b, first=done)
            done = stretch
        self.a, self.b = a, b
        constant, leading = summed(parts)
        return constant, leading

    def values(self, r: K) -> tuple[K, K]:
        """What is left of vectors with two entries when the last variable is bound."""
        return bound_last(self.a, r), bound_last(self.b, r)


def prove_product(
    transcript: Transcript, label: bytes, a: Words, b: Words, arena: Arena
) -> tuple[list[K], K, K]:
    """The sumcheck of `sum a b`: the point, and both vectors' extensions there."""
    vectors = Halving(a, b, arena)
    message = vectors.message()
    point: list[K] = []
    while True:
        transcript.send_k(label, *message)
        point.append(transcript.challenge(b"r"))
        if len(vectors.a) == 2:
            return point, *vectors.values(point[-1])
        message = vectors.bind(point[-1])
