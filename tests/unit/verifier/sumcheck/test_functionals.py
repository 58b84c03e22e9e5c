"""Closed forms agree with the weights they stand for, cell by cell, on shapes that are no powers of two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from verinfer.verifier.sumcheck.field import ONE, ZERO, K, P, inverse, mul, scale, total
from verinfer.verifier.sumcheck.functionals import Equal, Flattened, Pooled, Reading, Rows, Windows
from verinfer.verifier.sumcheck.lookup import table_at
from verinfer.verifier.sumcheck.multilinear import Dims, below, bits, eq, eq_below, eq_bits, eq_table, valid

from . import dense

RANDOM = Random(7)  # noqa: S311 - reproducible tests


def point(length: int) -> list[K]:
    """A random point."""
    return [(RANDOM.randrange(P), RANDOM.randrange(P)) for _ in range(length)]


def extension(cells: Sequence[K], where: Sequence[K]) -> K:
    """The value of a dense vector's extension."""
    return total(mul(a, b) for a, b in zip(cells, dense.every(where), strict=True))


def test_k_is_the_field_of_the_specification() -> None:
    """X^2 = 7, every element but zero has an inverse, and 7 has no square root in F."""
    assert mul((0, 1), (0, 1)) == (7, 0)
    assert pow(7, (P - 1) // 2, P) == P - 1
    for value in point(20):
        assert mul(value, inverse(value)) == ONE
        assert scale(value, -3) == mul(value, (P - 3, 0))
    with pytest.raises(ZeroDivisionError):
        inverse(ZERO)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 11, 16])
def test_sums_over_the_first_indices(size: int) -> None:
    """``eq``, ``eqr`` and the indicator's extension are those of the cells, for every count of them."""
    length = bits(size)
    x, y = point(length), point(length)
    assert eq_table(x) == dense.every(x)
    assert eq(x, y) == total(mul(a, b) for a, b in zip(dense.every(x), dense.every(y), strict=True))
    assert [eq_bits(index, x) for index in range(1 << length)] == dense.every(x)
    assert below(size, x) == total(dense.every(x)[:size])
    assert eq_below(size, x, y) == total(
        mul(a, b) for a, b in zip(dense.every(x)[:size], dense.every(y), strict=False)
    )


def test_points_of_other_lengths_are_not_compared() -> None:
    """A point with too many or too few coordinates is an error, never cut to fit."""
    wrongs: list[Callable[[], K]] = [
        lambda: eq(point(2), point(3)),
        lambda: eq_below(2, point(2), point(3)),
        lambda: eq_below(5, point(2), point(2)),
        lambda: below(5, point(2)),
        lambda: eq_bits(4, point(2)),
        lambda: valid((3, 5), point(4)),
    ]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"coordinates|zip|range"):
            wrong()


@pytest.mark.parametrize("t", [5, 8])
def test_the_range_table_has_every_width(t: int) -> None:
    """Slot i is ``(i - 2^k, k)`` with ``k = floor(log2 i)``, and slot 0 ``(0, 0)``."""
    slots = [(0, 0)] + [(i - (1 << i.bit_length() - 1), i.bit_length() - 1) for i in range(1, 2 << t)]
    where = point(t + 1)
    value, tag = table_at(where)
    assert value == extension([(v, 0) for v, _ in slots], where)
    assert tag == extension([(k, 0) for _, k in slots], where)


def _agrees(reading: Reading, weights: list[K], inputs: Dims) -> None:
    where = point(sum(map(bits, inputs)))
    assert reading.at(where) == extension(weights, where)
    cells = [RANDOM.randrange(-50, 50) for _ in dense.cells(inputs)]
    padded = dense.padded(inputs, cells)
    assert reading.on_input(cells) == total(scale(w, cell) for w, cell in zip(weights, padded, strict=True))
    ones = dense.padded(inputs, [1] * len(cells))
    assert reading.on_valid() == total(scale(w, cell) for w, cell in zip(weights, ones, strict=True))


@pytest.mark.parametrize("dims", [(1,), (5,), (8,), (3, 5), (1, 7), (2, 3, 5), (1, 4, 4), (3, 1, 1)])
def test_whole_tensors_and_flattened_ones(dims: Dims) -> None:
    """A tensor's extension, and that of its row-major flattening, on any rank."""
    where = point(sum(map(bits, dims)))
    _agrees(Equal(where, dims), dense.every(where), dims)
    where = point(bits(len(list(dense.cells(dims)))))
    _agrees(Flattened(where, dims), dense.flattened(where, dims), dims)


@pytest.mark.parametrize(
    ("inputs", "kernel", "stride", "pad"),
    [
        ((3, 9, 7), 3, 2, 1),
        ((2, 8, 8), 5, 1, 2),
        ((1, 6, 5), 1, 1, 0),
        ((2, 5, 3), 3, 4, 2),
        ((1, 1, 1), 3, 1, 1),
        ((1, 2, 1), 4, 3, 3),
        ((1, 1, 1), 6, 1, 3),
        ((5, 4, 6), 2, 3, 0),
    ],
)
def test_windows_of_convolutions(inputs: Dims, kernel: int, stride: int, pad: int) -> None:
    """Every kernel, stride and padding, also where most of a window is outside."""
    outputs = (2, *((size + 2 * pad - kernel) // stride + 1 for size in inputs[1:]))
    window, channels = point(bits(kernel**2)), point(bits(inputs[0]))
    down, across = point(bits(outputs[1])), point(bits(outputs[2]))
    layer = {"k": kernel, "stride": stride, "pad": pad}
    weights = dense.windows(window, channels, down, across, layer, inputs, outputs)
    _agrees(Windows(window, channels, down, across, kernel, stride, pad, inputs, outputs), weights, inputs)


@pytest.mark.parametrize(
    ("inputs", "kernel"), [((3, 6, 8), 2), ((1, 7, 5), 3), ((2, 3, 3), 1), ((5, 4, 4), 4)]
)
def test_pooling(inputs: Dims, kernel: int) -> None:
    """Whole windows only, and every one of them."""
    outputs = (inputs[0], inputs[1] // kernel, inputs[2] // kernel)
    where = point(sum(map(bits, outputs)))
    _agrees(Pooled(where, kernel, inputs, outputs), dense.pooled(where, kernel, inputs, outputs), inputs)


@pytest.mark.parametrize("count", [1, 3, 4, 6, 8])
def test_rows_of_weights(count: int) -> None:
    """Padding rows of a block of weights have no weight."""
    low, high = point(2), point(bits(count))
    where = point(2 + bits(count))
    assert Rows(low, high, count).at(where) == extension(dense.rows(low, high, count), where)
    assert Rows((), high, count).at(where[2:]) == extension(dense.rows((), high, count), where[2:])
