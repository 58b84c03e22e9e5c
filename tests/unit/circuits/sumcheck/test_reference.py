"""The integer reference against section 3 written as plain loops over Python's integers, on networks of odd shapes."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
import pytest

from verinfer.circuits.sumcheck import description, reference
from verinfer.circuits.sumcheck.description import Description
from verinfer.verifier.errors import CouldNotCheck, UsageError

from .networks import SEEDS, network

Cells = dict[tuple[int, ...], int]
"""A tensor as Python integers by coordinate; what is absent is outside."""


def _cells(array: np.ndarray[Any, Any]) -> Cells:
    return {at: int(array[at]) for at in np.ndindex(array.shape)}


def _sum_of(
    layer: dict[str, Any], x: Cells, dims: tuple[int, ...], at: tuple[int, ...], w: Cells, b: Cells
) -> int:
    """Section 3's formula for one accumulator, without shortcut."""
    if layer["op"] == "conv":
        o, row, column = at
        step, edge, k = layer["stride"], layer["pad"], layer["k"]
        return b[o,] + sum(
            w[o, c, i, j] * x.get((c, step * row + i - edge, step * column + j - edge), 0)
            for c, i, j in product(range(dims[0]), range(k), range(k))
        )
    if layer["op"] == "pool":
        c, row, column = at
        k = layer["k"]
        return sum(x[c, k * row + i, k * column + j] for i, j in product(range(k), range(k)))
    if layer["op"] == "linear":
        row, o = at
        return b[o,] + sum(w[o, i] * x[row, i] for i in range(dims[1]))
    return b[at] + sum(w[at[0], i] * x[place] for i, place in enumerate(np.ndindex(dims)))


def _slowly(d: Description, weights: description.Weights, x: np.ndarray[Any, Any]) -> list[Cells]:
    """Every layer's activation, one cell after the other."""
    found: list[tuple[Cells, tuple[int, ...]]] = []
    shapes = description.out_dims(d)
    for index, layer in enumerate(d["layers"]):
        source = layer.get("src", index - 1)
        given, dims = (_cells(x), tuple(d["in_dims"])) if source < 0 else found[source]
        w, b = (_cells(weights[f"{kind}{index}"]) if layer["op"] != "pool" else {} for kind in "Wb")
        cells: Cells = {}
        for at in np.ndindex(shapes[index]):
            acc = _sum_of(layer, given, dims, at, w, b)
            if "res" in layer:
                acc += layer["res"]["c"] * found[layer["res"]["src"]][0][at]
            if "final" not in layer:
                q = (layer["M"] * acc + 2 ** (layer["s"] - 1)) // 2 ** layer["s"]
                # Section 4: N and H must fit their widths, or an admissible input could not be proven.
                top = layer["lo"] + 2 ** layer["a"] - 1
                assert layer["lo"] - q < 2 ** layer["nb"]
                assert q - top < 2 ** layer["hb"]
                acc = min(max(q, layer["lo"]), top)
            cells[at] = acc
        found.append((cells, shapes[index]))
    return [cells for cells, _ in found]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_reference_is_section_3_bit_for_bit(seed: int) -> None:
    """Each activation of each layer is what the formulas say, on random, extreme and empty inputs, and widths hold them all."""
    d, weights, inputs = network(seed)
    steps = reference.trace_many(d, weights, inputs)
    for number, x in enumerate(inputs):
        for step, cells in zip(steps, _slowly(d, weights, x), strict=True):
            assert _cells(step.out[number]) == cells
        assert np.array_equal(reference.run(d, weights, x), steps[-1].out[number])


def test_random_networks_hold_every_feature() -> None:
    """What the comparison above ranges over: each operation, shortcuts, earlier sources, signed activations, saturation."""
    layers = [layer for seed in SEEDS for layer in network(seed)[0]["layers"]]
    assert {layer["op"] for layer in layers} == {"conv", "gemm", "linear", "pool"}
    for has in ("res", "src"):
        assert sum(has in layer for layer in layers) >= 5
    inner = [layer for layer in layers if "final" not in layer]
    assert sum(layer["lo"] < 0 for layer in inner) >= 5
    assert sum(layer["nb"] > 0 for layer in inner) >= 5
    assert sum(layer["hb"] > 0 for layer in inner) >= 5


def test_canonical_bytes_are_sorted_json_without_spaces() -> None:
    """canon(D) is what section 3 says, and reading it gives D again."""
    d, _, _ = network(2)
    data = description.canon(d)
    assert b" " not in data
    assert data.startswith(b'{"bb":')
    assert json.loads(data) == d


def test_products_beyond_binary64_are_exact_too() -> None:
    """Sums above 2^53 are added in integers: the last bit is there."""
    d: Description = {
        "proto": description.PROTOCOL, "t": 16, "in_dims": [3], "in_bits": 16, "pcs": description.commitment_parameters(),
        "layers": [
            {"op": "gemm", "nout": 1, "M": 1, "s": 1, "a": 16, "lo": 0},
            {"op": "gemm", "nout": 1, "final": 1, "res": {"src": 0, "c": 2**31 - 1}},
        ],
    }  # fmt: skip
    big = (1 << 31) - 1
    weights = {
        "W0": np.array([[1, 0, 0]]),
        "b0": np.array([0]),
        "W1": np.array([[big]]),
        "b1": np.array([(1 << 46) + 1]),
    }
    whole = description.finish(d, weights)
    assert reference.run(whole, weights, np.array([2**16 - 1, 0, 0])).tolist() == [
        2**15 * big * 2 + (1 << 46) + 1
    ]


def test_an_accumulator_that_could_wrap_is_refused() -> None:
    """No D is made whose accumulator could leave 62 bits, however large the weights are."""
    d = {
        "proto": description.PROTOCOL, "t": 16, "in_dims": [1 << 18], "in_bits": 16,
        "pcs": description.commitment_parameters(), "layers": [{"op": "gemm", "nout": 1, "final": 1}],
    }  # fmt: skip
    weights = {"W0": np.full((1, 1 << 18), (1 << 31) - 1), "b0": np.zeros(1, np.int64)}
    with pytest.raises(CouldNotCheck, match="62 bits"):
        description.finish(d, weights)
    weights["W0"][:] = 1 << 33
    with pytest.raises(CouldNotCheck, match="more than 32"):
        description.finish(d, weights)


def test_an_input_that_cannot_be_proven_is_refused() -> None:
    """The reference computes nothing that could not be proven: whole numbers within D's bits, as many as D says."""
    d, weights, inputs = network(0)
    for wrong in (-1, 1 << d["in_bits"]):
        x = inputs[0].copy()
        x.flat[0] = wrong
        with pytest.raises(UsageError) as refused:
            reference.run(d, weights, x)
        assert refused.value.code == "value-out-of-range"
    with pytest.raises(UsageError) as refused:
        reference.run(d, weights, inputs[0].astype(np.float64))
    assert refused.value.code == "value-not-integer"
    with pytest.raises(UsageError) as refused:
        reference.run(d, weights, inputs[0][:-1])
    assert refused.value.code == "shape-mismatch"
    assert np.array_equal(
        reference.run(d, weights, inputs[0].reshape(-1)), reference.run(d, weights, inputs[0])
    )
