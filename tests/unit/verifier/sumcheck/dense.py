"""The weights of each functional, cell by cell from its definition (section 5), which the closed forms must agree with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from verinfer.verifier.sumcheck.field import ONE, ZERO, K, add, mul, sub

Point = Sequence[K]
Dims = tuple[int, ...]


def bits(count: int) -> int:
    """Bits of an index below `count`."""
    found = 0
    while 1 << found < count:
        found += 1
    return found


def parts(dims: Dims, point: Point) -> list[Point]:
    """The coordinates of each dimension; the last one has the first coordinates."""
    found: list[Point] = []
    for size in dims[::-1]:
        found.insert(0, point[: bits(size)])
        point = point[bits(size) :]
    return found


def equal(point: Point, index: int) -> K:
    """Eq of a point with the bits of an index."""
    product = ONE
    for position, coordinate in enumerate(point):
        product = mul(product, coordinate if index >> position & 1 else sub(ONE, coordinate))
    return product


def cells(dims: Dims) -> Iterator[tuple[int, ...]]:
    """The unpadded cells of a tensor, row by row."""
    if not dims:
        yield ()
        return
    for head in range(dims[0]):
        for rest in cells(dims[1:]):
            yield head, *rest


def place(dims: Dims, cell: Sequence[int]) -> int:
    """Where a cell lies in the padded tensor."""
    index = 0
    for size, coordinate in zip(dims, cell, strict=True):
        index = index << bits(size) | coordinate
    return index


def padded(dims: Dims, values: Sequence[int]) -> list[int]:
    """A tensor with its padding."""
    found = [0] * (1 << sum(map(bits, dims)))
    for cell, value in zip(cells(dims), values, strict=True):
        found[place(dims, cell)] = value
    return found


def every(point: Point) -> list[K]:
    """Eq with every index."""
    return [equal(point, index) for index in range(1 << len(point))]


def rows(reduction: Point, high: Point, count: int) -> list[K]:
    """Rows below `count` of a block of weights."""
    low = every(reduction)
    return [
        mul(entry, equal(high, row)) if row < count else ZERO
        for row in range(1 << len(high))
        for entry in low
    ]


def flattened(where: Point, dims: Dims) -> list[K]:
    """Unpadded cells by their row-major index."""
    found = [ZERO] * (1 << sum(map(bits, dims)))
    for number, cell in enumerate(cells(dims)):
        found[place(dims, cell)] = equal(where, number)
    return found


def windows(
    window: Point,
    channels: Point,
    down: Point,
    across: Point,
    layer: dict[str, int],
    inputs: Dims,
    outputs: Dims,
) -> list[K]:
    """The windows of a convolution, for every channel that the block has room for."""
    k, stride, pad = layer["k"], layer["stride"], layer["pad"]
    plane = [ZERO] * (1 << (bits(inputs[1]) + bits(inputs[2])))
    for kh, kw, ph, pw in cells((k, k, outputs[1], outputs[2])):
        row, column = stride * ph + kh - pad, stride * pw + kw - pad
        if 0 <= row < inputs[1] and 0 <= column < inputs[2]:
            spot = row << bits(inputs[2]) | column
            weight = mul(equal(window, kh * k + kw), mul(equal(down, ph), equal(across, pw)))
            plane[spot] = add(plane[spot], weight)
    return [mul(entry, value) for entry in every(channels) for value in plane]


def pooled(where: Point, k: int, inputs: Dims, outputs: Dims) -> list[K]:
    """Sums over k × k windows, for every channel that the block has room for."""
    channels, down, across = parts(outputs, where)
    plane = [ZERO] * (1 << (bits(inputs[1]) + bits(inputs[2])))
    for ph, pw, a, b in cells((outputs[1], outputs[2], k, k)):
        spot = (k * ph + a) << bits(inputs[2]) | (k * pw + b)
        plane[spot] = mul(equal(down, ph), equal(across, pw))
    return [mul(entry, value) for entry in every(channels) for value in plane]
