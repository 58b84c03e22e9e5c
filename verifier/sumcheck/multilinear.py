"""Multilinear extensions that a verifier evaluates itself (specification, section 1).

Variable i of a point is bit i of the index, lowest first.
A tensor's dimensions are padded to powers of two each, and its last dimension is in the low bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from .field import ONE, ZERO, K, P, add, mul, sub

Point = Sequence[K]
Dims = tuple[int, ...]


def bits(count: int) -> int:
    """``ceil(log2 count)``: the bits of an index below `count`, which is at least 1."""
    return (count - 1).bit_length()


def padded_bits(dims: Dims) -> int:
    """The bits of an index into the padded tensor."""
    return sum(map(bits, dims))


def split(dims: Dims, point: Point) -> list[Point]:
    """The part of `point` that belongs to each dimension, in the order of `dims`."""
    parts: list[Point] = []
    start = 0
    for size in reversed(dims):
        parts.append(point[start : start + bits(size)])
        start += bits(size)
    if start != len(point):
        raise ValueError("the point does not have as many coordinates as the tensor has bits")
    return parts[::-1]


def eq_table(point: Point) -> list[K]:
    """``eq(point, i)`` for every index i below 2^len(point)."""
    table = [ONE]
    for coordinate in point:
        upper = [mul(entry, coordinate) for entry in table]
        table = [sub(entry, high) for entry, high in zip(table, upper, strict=True)]
        table += upper
    return table


def eq(left: Point, right: Point) -> K:
    """``eq`` of two points; raises ValueError where they have different lengths."""
    product = ONE
    for x, y in zip(left, right, strict=True):
        product = mul(product, _agreement(x, y))
    return product


def eq_bits(index: int, point: Point) -> K:
    """``eqbits``: eq of the bits of an integer with a point that has room for them."""
    if index >> len(point):
        raise ValueError("the index has more bits than the point has coordinates")
    product = ONE
    for position, coordinate in enumerate(point):
        product = mul(product, coordinate if index >> position & 1 else sub(ONE, coordinate))
    return product


def eq_below(count: int, left: Point, right: Point) -> K:
    """``eqr``: the sum over i < count of ``eq(i, left) eq(i, right)``; count <= 2^len(left).

    From the highest variable down, the indices below `count` are whole subtrees, in each of which the sum is eq itself.
    """
    if len(left) != len(right) or not 0 <= count <= 1 << len(left):
        raise ValueError("no such range of indices")
    # agreements[i]: eq of the first i coordinates.
    agreements = [ONE]
    for x, y in zip(left, right, strict=True):
        agreements.append(mul(agreements[-1], _agreement(x, y)))
    if count == 1 << len(left):
        return agreements[-1]
    found, path = ZERO, ONE
    for position in reversed(range(len(left))):
        x, y = left[position], right[position]
        both = mul(x, y)
        neither = add(sub(sub(ONE, x), y), both)
        if count >> position & 1:
            found = add(found, mul(mul(path, neither), agreements[position]))
            path = mul(path, both)
        else:
            path = mul(path, neither)
    return found


def below(count: int, point: Point) -> K:
    """The sum over i < count of ``eq(i, point)``; count <= 2^len(point)."""
    if not 0 <= count <= 1 << len(point):
        raise ValueError("no such range of indices")
    if count == 1 << len(point):
        return ONE
    found, path = ZERO, ONE
    for position in reversed(range(len(point))):
        upper = mul(path, point[position])
        lower = sub(path, upper)
        if count >> position & 1:
            found, path = add(found, lower), upper
        else:
            path = lower
    return found


def valid(dims: Dims, point: Point) -> K:
    """``valid~``: the extension of the indicator of a tensor's unpadded cells."""
    product = ONE
    for size, part in zip(dims, split(dims, point), strict=True):
        product = mul(product, below(size, part))
    return product


def _agreement(x: K, y: K) -> K:
    """``xy + (1-x)(1-y)``."""
    both = mul(x, y)
    return (1 - x[0] - y[0] + 2 * both[0]) % P, (2 * both[1] - x[1] - y[1]) % P
