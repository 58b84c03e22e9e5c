"""Layout and witness against section 4, and functionals against the sums they stand for."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import numpy as np
import pytest

from verinfer.circuits.sumcheck import functionals, layout, witness
from verinfer.circuits.sumcheck.arena import Arena
from verinfer.circuits.sumcheck.description import Dims
from verinfer.circuits.sumcheck.field import ONE, K, P, Words, eq_bits, k_add, k_mul, k_scale
from verinfer.circuits.sumcheck.functionals import Convolution, Equal, Flat, Functional, Pool, Rows
from verinfer.circuits.sumcheck.layout import Block, layout_of, place
from verinfer.circuits.sumcheck.reference import trace
from verinfer.verifier.errors import CouldNotCheck

from .networks import network

FEW = range(0, 40, 5)


def test_blocks_are_placed_by_size_then_name() -> None:
    """Larger blocks first, then names in ASCII order: each is aligned to its size, and none overlaps another."""
    placed, bits = place([("m", 3), ("Y0.10", 2), ("Y0.2", 2), ("b", 0), ("H0.1", 4)])
    assert bits == 6
    assert {name: block.offset for name, block in placed.items()} == {
        "H0.1": 0, "m": 16, "Y0.10": 24, "Y0.2": 28, "b": 32,
    }  # fmt: skip
    numbers, bits = place([(10, 2), (2, 2)])
    assert (numbers[2].offset, numbers[10].offset, bits) == (0, 4, 3)


def test_limbs_are_full_but_for_the_last() -> None:
    """A width is split into limbs of t bits; width 0 has none."""
    assert layout.limbs(17, 8) == (8, 8, 1)
    assert layout.limbs(8, 8) == (8,)
    assert layout.limbs(0, 8) == ()


def test_range_table_is_that_of_section_4() -> None:
    """Slot i of the table holds (i - 2^k, k) with k the number of its highest bit; slot 0 is slot 1."""
    values, widths = witness.range_table(5)
    assert (values[0], widths[0]) == (0, 0)
    for slot in range(1, 64):
        k = slot.bit_length() - 1
        assert (values[slot], widths[slot]) == (slot - 2**k, k)


@pytest.mark.parametrize("seed", FEW)
def test_columns_satisfy_the_identity_of_requantisation(seed: int) -> None:
    """On valid cells M acc + 2^(s-1) = 2^s (Y + lo - N + H) + R, all in their widths; on padding all columns are 0."""
    d, weights, inputs = network(seed)
    places = layout_of(d)
    tags = witness.tags_of(places)
    made = witness.witness(places, tags, weights, inputs[0])
    values = made.cells.astype(object)
    for stage, step in zip(places.stages, trace(d, weights, inputs[0]), strict=True):
        if "s" not in stage.layer:
            assert np.array_equal(made.y, step.out)
            continue
        sums: dict[str, Any] = dict.fromkeys("YNHR", 0)
        for name, group, number, width in stage.columns():
            block = values[places.witness[name].cells]
            assert (block < 2**width).all()
            sums[group] = sums[group] + block * 2 ** (number * d["t"])
        whole = {
            group: np.broadcast_to(np.asarray(total, object), (1 << stage.bits,))
            for group, total in sums.items()
        }
        s, lo = stage.layer["s"], stage.layer["lo"]
        right = 2**s * (whole["Y"] - whole["N"] + whole["H"]) + whole["R"]
        left = np.zeros(1 << stage.bits, object)
        part = stage.layer["M"] * step.acc.astype(object) + 2 ** (s - 1) - 2**s * lo
        witness.valid_cells(left, stage.out)[:] = part
        assert (left == right).all()
        assert not (whole["Y"] * whole["N"]).any()
        assert not ((2 ** stage.layer["a"] - 1 - whole["Y"]) * whole["H"]).any()


@pytest.mark.parametrize("seed", FEW)
def test_multiplicities_count_every_cell_outside_their_block(seed: int) -> None:
    """m[2^k + v] is how often a cell of width k holds v; filler counts at slot 1."""
    d, weights, inputs = network(seed)
    places = layout_of(d)
    tags = witness.tags_of(places)
    cells = witness.witness(places, tags, weights, inputs[1]).cells
    block = places.witness["m"]
    counts = np.zeros(1 << block.bits, np.int64)
    for i in [*range(block.offset), *range(block.cells.stop, len(cells))]:
        counts[(1 << int(tags[i])) + int(cells[i])] += 1
    assert np.array_equal(cells[block.cells], counts)
    assert counts.sum() == len(cells) - (1 << block.bits)


def test_weights_unlike_the_description_are_refused() -> None:
    """Setup commits to nothing but integers of D's shapes and widths."""
    d, weights, _ = network(3)
    places = layout_of(d)
    witness.check_weights(places, weights)
    name = min(weights)
    too_large = copy.deepcopy(dict(weights))
    too_large[name].flat[0] = 1 << (d["wb"] - 1)
    wrong: dict[str, Any] = {
        "takes more than": too_large,
        "is not an array": {**weights, name: weights[name][..., None]},
        "an array of int64": {**weights, name: weights[name].astype(np.float64)},
        "has weights": {key: value for key, value in weights.items() if key != name},
    }
    for message, changed in wrong.items():
        with pytest.raises(CouldNotCheck, match=message):
            witness.check_weights(places, changed)


def test_weights_fill_their_blocks_with_the_reduction_low() -> None:
    """A cell of P_w is W[o][ci][kh K + kw], each index padded to a power of two; all other cells are 0."""
    d, weights, _ = next(
        found
        for found in map(network, range(40))
        if any(layer["op"] == "conv" for layer in found[0]["layers"])
    )
    places = layout_of(d)
    cells = witness.pack_weights(places, weights)
    for stage in places.stages:
        if stage.operation == "conv":
            matrix = weights[f"W{stage.index}"]
            block = places.weights[f"W{stage.index}"]
            window = (stage.layer["k"] ** 2 - 1).bit_length()
            channels = (stage.given[0] - 1).bit_length()
            for o, c, i, j in np.ndindex(matrix.shape):
                at = ((((o << channels) + c) << window) + i * stage.layer["k"] + j) + block.offset
                assert int(cells[at]) == int(matrix[o, c, i, j]) % P
    assert np.count_nonzero(cells) == sum(np.count_nonzero(value) for value in weights.values())


def test_widths_that_some_input_would_exceed_are_refused() -> None:
    """Setup refuses an nb or hb with which an admissible input could not be proven; larger ones than needed are fine."""
    d, weights, _ = next(
        found for found in map(network, range(40)) if any(layer.get("nb") for layer in found[0]["layers"])
    )
    index = next(i for i, layer in enumerate(d["layers"]) if layer.get("nb"))
    for change, refused in ((-1, True), (1, False)):
        changed = copy.deepcopy(d)
        changed["layers"][index]["nb"] += change
        if refused:
            with pytest.raises(CouldNotCheck, match="can leave its range"):
                witness.check_weights(layout_of(changed), weights)
        else:
            witness.check_weights(layout_of(changed), weights)


# Functionals: <weights, x> for a random x is the sum they stand for.


def _point(rng: np.random.Generator, count: int) -> list[K]:
    return [(int(a), int(b)) for a, b in rng.integers(0, P, (count, 2), dtype=np.uint64)]


def _against(functional: Functional, x: Words, factor: K) -> K:
    """`factor * <weights, x>`, on top of what was in the table."""
    table = np.full((len(x), 2), 5, np.uint64)
    functional.add_to(table, factor)
    total = (0, 0)
    for (a, b), cell in zip(table.tolist(), x.tolist(), strict=True):
        total = k_add(total, k_scale((a - 5, b - 5), cell))
    return total


def _padded(dims: Dims, rng: np.random.Generator) -> tuple[Words, dict[tuple[int, ...], int]]:
    """Random cells, on padding too, and the valid ones by coordinate."""
    size = 1 << sum((length - 1).bit_length() for length in dims)
    cells = rng.integers(0, P, size, dtype=np.uint64)
    view = witness.valid_cells(cells, dims)
    return cells, {at: int(view[at]) for at in np.ndindex(view.shape)}


CASES = [((2, 5, 6), 3, 1, 1), ((3, 7, 4), 2, 2, 0), ((1, 3, 9), 4, 3, 3), ((2, 3, 3), 1, 1, 0)]


@pytest.mark.parametrize(("dims", "k", "stride", "pad"), CASES)
def test_convolution_weights(dims: Dims, k: int, stride: int, pad: int) -> None:
    """The functional of a convolution is im2col, contracted with a point of the output and one of the reduction."""
    rng = np.random.default_rng(k)
    out = (4, (dims[1] + 2 * pad - k) // stride + 1, (dims[2] + 2 * pad - k) // stride + 1)
    window, rows, columns = (_point(rng, (size - 1).bit_length()) for size in (k * k, *out[1:]))
    channels, factor = _point(rng, (dims[0] - 1).bit_length()), (3, 4)
    x, cells = _padded(dims, rng)
    for at in np.ndindex(1 << (dims[0] - 1).bit_length(), *dims[1:]):  # padded channels are read as well
        cells.setdefault(at, int(x.reshape(-1, *(1 << (s - 1).bit_length() for s in dims[1:]))[at]))
    expected = (0, 0)
    for c, i, j, p, q in product(range(1 << len(channels)), range(k), range(k), range(out[1]), range(out[2])):
        cell = cells.get((c, stride * p + i - pad, stride * q + j - pad), 0)
        weight = k_mul(eq_bits(c, channels), eq_bits(i * k + j, window))
        weight = k_mul(weight, k_mul(eq_bits(p, rows), eq_bits(q, columns)))
        expected = k_add(expected, k_scale(weight, cell))
    functional = Convolution(window, channels, rows, columns, k, stride, pad, dims, out)
    assert _against(functional, x, factor) == k_mul(factor, expected)


@pytest.mark.parametrize(("dims", "k"), [((3, 6, 7), 2), ((1, 5, 5), 3), ((2, 4, 4), 1)])
def test_pool_weights(dims: Dims, k: int) -> None:
    """The functional of a pool sums the windows; rows and columns that no window has are not read."""
    rng = np.random.default_rng(k)
    out = (dims[0], dims[1] // k, dims[2] // k)
    channels, rows, columns = (_point(rng, (size - 1).bit_length()) for size in out)
    x, cells = _padded(dims, rng)
    x.reshape(1 << len(channels), -1)[dims[0] :] = 0
    expected = (0, 0)
    for (c, i, j), cell in cells.items():
        if i // k < out[1] and j // k < out[2]:
            weight = k_mul(eq_bits(c, channels), k_mul(eq_bits(i // k, rows), eq_bits(j // k, columns)))
            expected = k_add(expected, k_scale(weight, cell))
    assert _against(Pool(channels, rows, columns, k, dims, out), x, ONE) == expected


@pytest.mark.parametrize("dims", [(3, 5, 6), (3, 7), (4, 4), (1, 1, 3)])
def test_flat_weights(dims: Dims) -> None:
    """The functional of a flattening reads valid cells in row-major order, and no padding."""
    rng = np.random.default_rng(1)
    x, cells = _padded(dims, rng)
    point = _point(rng, (len(cells) - 1).bit_length())
    expected = (0, 0)
    for number, cell in enumerate(cells.values()):
        expected = k_add(expected, k_scale(eq_bits(number, point), cell))
    assert _against(Flat(point, dims), x, (7, 1)) == k_mul((7, 1), expected)


@pytest.mark.parametrize(("low", "high", "rows"), [(3, 2, 3), (0, 3, 5), (2, 0, 1), (7, 7, 100)])
def test_row_weights_read_no_padding_row(low: int, high: int, rows: int) -> None:
    """What opens a block of weights reads unpadded rows only, so that a publisher can hide nothing in the others."""
    rng = np.random.default_rng(2)
    x = rng.integers(0, P, 1 << (low + high), dtype=np.uint64)
    inner, outer = _point(rng, low), _point(rng, high)
    expected = (0, 0)
    for i, cell in enumerate(x.tolist()[: rows << low]):
        weight = k_mul(eq_bits(i & ((1 << low) - 1), inner), eq_bits(i >> low, outer))
        expected = k_add(expected, k_scale(weight, cell))
    assert _against(Rows(inner, outer, rows), x, (2, 3)) == k_mul((2, 3), expected)
    if rows == 1 << high:
        assert _against(Equal([*inner, *outer]), x, (2, 3)) == k_mul((2, 3), expected)


def test_a_block_is_chosen_by_the_high_coordinates() -> None:
    """The selector of a block is eq of its number with the coordinates above its own."""
    rng = np.random.default_rng(3)
    point = _point(rng, 6)
    assert Block(48, 3).selector(point) == eq_bits(6, point[3:])
    assert functionals.WEIGHTS != functionals.WITNESS


def test_arena_gives_back_what_a_scope_took() -> None:
    """A prover's memory does not grow from proof to proof, and vectors that live at once don't overlap."""
    arena = Arena()
    for _ in range(3):
        with arena.scope():
            first = arena.elements(4, 1 << 16)
            second = arena.vector(1 << 19)
            first[:], second[:] = 1, 2
            assert (first == 1).all()
    held = arena.size
    with arena.scope():
        arena.elements(4, 1 << 16)
        arena.vector(1 << 19)
    assert arena.size == held
