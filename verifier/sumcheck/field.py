"""The field F of integers modulo 2^64 - 2^32 + 1, and its extension K = F[X]/(X^2 - 7) (specification, section 1).

An element of F is an int in [0, P); an element of K is a pair (a, b) of them for a + bX.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import mul as times

P = (1 << 64) - (1 << 32) + 1
GENERATOR = 7
"""Generates F*, so it has no square root in F, and K is a field."""

K = tuple[int, int]

ZERO: K = (0, 0)
ONE: K = (1, 0)


def add(left: K, right: K) -> K:
    """Left + right."""
    return (left[0] + right[0]) % P, (left[1] + right[1]) % P


def sub(left: K, right: K) -> K:
    """Left - right."""
    return (left[0] - right[0]) % P, (left[1] - right[1]) % P


def mul(left: K, right: K) -> K:
    """Left · right."""
    a, b = left
    c, d = right
    return (a * c + 7 * b * d) % P, (a * d + b * c) % P


def scale(value: K, factor: int) -> K:
    """Value · factor, for any integer."""
    return value[0] * factor % P, value[1] * factor % P


def inverse(value: K) -> K:
    """1 / value; raises ZeroDivisionError for zero."""
    if value == ZERO:
        raise ZeroDivisionError("zero has no inverse in K")
    a, b = value
    norm = pow(a * a - 7 * b * b, -1, P)
    return a * norm % P, -b * norm % P


def lerp(at_zero: K, at_one: K, point: K) -> K:
    """The line through (0, at_zero) and (1, at_one), at `point`."""
    return add(at_zero, mul(point, sub(at_one, at_zero)))


def total(values: Iterable[K]) -> K:
    """The sum of `values`."""
    first = second = 0
    for a, b in values:
        first += a
        second += b
    return first % P, second % P


def dot(left: Sequence[K], right: Sequence[K]) -> K:
    """The sum of products; both have the same length, or ValueError is raised."""
    (a, b), (c, d) = _coordinates(left, len(right)), _coordinates(right, len(left))
    high = sum(map(times, b, d))
    return (sum(map(times, a, c)) + 7 * high) % P, (sum(map(times, a, d)) + sum(map(times, b, c))) % P


def dot_integers(left: Sequence[K], right: Sequence[int]) -> K:
    """The sum of products with integers of any sign; both have the same length, or ValueError is raised."""
    a, b = _coordinates(left, len(right))
    return sum(map(times, a, right)) % P, sum(map(times, b, right)) % P


def _coordinates(values: Sequence[K], count: int) -> Sequence[Sequence[int]]:
    """The first and the second coordinates of `count` elements; sums over them run without Python's interpreter."""
    if len(values) != count:
        raise ValueError(f"{len(values)} elements, and {count} for them")
    return list(zip(*values, strict=True)) if values else ((), ())


def root_of_unity(order_bits: int) -> int:
    """``root(n)``: the generator of the subgroup of 2^order_bits elements of F*; order_bits <= 32."""
    return pow(GENERATOR, (P - 1) >> order_bits, P)


def reverse_bits(index: int, width: int) -> int:
    """The lowest `width` bits of `index` in reverse order."""
    return int(f"{index:0{width}b}"[::-1], 2) if width else 0
