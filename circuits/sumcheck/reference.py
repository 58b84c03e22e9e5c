"""What an integer network computes, bit for bit: section 3 of the specification, and the oracle of all tests.

Takes D, its integer weights and integer inputs; gives accumulators and activations.
Independent of the proof's code; numpy's int64, and binary64 for products that are exact in it, which is ten times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from verinfer.verifier.errors import UsageError

from .description import Description, Integers, Layer, Weights, accumulator_range, source_of

_EXACT = 1 << 53
"""Sums of integers below this are exact in binary64, in any order."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one layer computed, in its unpadded output dimensions: the accumulator, rescaled, and clamped.

    Of the final layer all three are the accumulator.
    """

    acc: Integers
    q: Integers
    out: Integers


def run(description: Description, weights: Weights, x: Integers) -> Integers:
    """The network's output for one input, both integers, in the dimensions of D."""
    return trace(description, weights, x)[-1].out


def run_many(description: Description, weights: Weights, inputs: Integers) -> Integers:
    """The outputs for several inputs, [n, …] to [n, …]."""
    return trace_many(description, weights, inputs)[-1].out


def trace(description: Description, weights: Weights, x: Integers) -> tuple[Step, ...]:
    """Every layer's step for one input, of any shape with as many numbers as D's; raises as `trace_many`."""
    dims = description["in_dims"]
    if np.size(x) != prod(dims):
        raise UsageError("shape-mismatch", f"The network takes {list(dims)} numbers; given are {np.size(x)}.")
    return tuple(
        Step(step.acc[0], step.q[0], step.out[0])
        for step in trace_many(description, weights, np.asarray(x)[None])
    )


def trace_many(description: Description, weights: Weights, inputs: Integers) -> tuple[Step, ...]:
    """Every layer's step for several inputs, [n, …].

    Raises `UsageError` (``value-not-integer``, ``value-out-of-range``) for an input that D does not admit.
    """
    given = np.asarray(inputs)
    if given.dtype.kind not in "iu":
        raise UsageError("value-not-integer", f"The network takes integers; given are {given.dtype}.")
    if given.size and not (given.min() >= 0 and given.max() < 1 << description["in_bits"]):
        most = (1 << description["in_bits"]) - 1
        raise UsageError("value-out-of-range", f"A number of the input is not in 0 .. {most}.")
    x = given.astype(np.int64).reshape(-1, *description["in_dims"])
    steps: list[Step] = []
    for index, layer in enumerate(description["layers"]):
        source = source_of(description, index)
        given = x if source < 0 else steps[source].out
        acc = _accumulate(layer, given, _parameters(description, weights, index))
        if "res" in layer:
            acc = acc + layer["res"]["c"] * steps[layer["res"]["src"]].out
        steps.append(Step(acc, acc, acc) if layer.get("final") else _requantise(layer, acc))
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class _Parameters:
    """A layer's weights as one matrix [out, reduction], its bias [out], and whether binary64 computes the product exactly."""

    matrix: Integers
    bias: Integers
    exact: bool


def _parameters(description: Description, weights: Weights, index: int) -> _Parameters | None:
    if f"W{index}" not in weights:
        return None
    bias = weights[f"b{index}"]
    matrix = weights[f"W{index}"].reshape(len(bias), -1)
    # Partial sums are within the sum of absolute contributions, whatever the order of additions.
    alone = {f"W{index}": np.abs(matrix), f"b{index}": np.zeros_like(bias)}
    bare = {key: value for key, value in description["layers"][index].items() if key != "res"}
    layers: Sequence[Layer] = [*description["layers"][:index], bare]
    least, most = accumulator_range({**description, "layers": layers}, index, alone)
    return _Parameters(matrix, bias, max(-least, most) < _EXACT)


def _accumulate(layer: Layer, x: Integers, parameters: _Parameters | None) -> Integers:
    match layer["op"]:
        case "pool":
            return _pool(x, layer["k"])
        case "conv":
            assert parameters is not None
            return _convolve(x, parameters, layer)
        case "linear":
            assert parameters is not None
            return _product(x, parameters)
        case _:
            assert parameters is not None
            return _product(x.reshape(len(x), -1), parameters)


def _product(rows: Integers, parameters: _Parameters) -> Integers:
    """[…, reduction] to […, out]."""
    if parameters.exact:
        product = rows.astype(np.float64) @ parameters.matrix.T.astype(np.float64)
        return product.astype(np.int64) + parameters.bias
    return rows @ parameters.matrix.T + parameters.bias


def _convolve(x: Integers, parameters: _Parameters, layer: Layer) -> Integers:
    edge, k, stride = layer["pad"], layer["k"], layer["stride"]
    wide = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]
    count, _, rows, columns = windows.shape[:4]
    flat = windows.transpose(0, 2, 3, 1, 4, 5).reshape(count, rows, columns, -1)
    return np.ascontiguousarray(_product(flat, parameters).transpose(0, 3, 1, 2))


def _pool(x: Integers, k: int) -> Integers:
    rows, columns = (size // k for size in x.shape[2:])
    whole = x[:, :, : rows * k, : columns * k]
    total: Integers = whole.reshape(*x.shape[:2], rows, k, columns, k).sum(axis=(3, 5))
    return total


def _requantise(layer: Layer, acc: Integers) -> Step:
    q = (layer["M"] * acc + (1 << (layer["s"] - 1))) >> layer["s"]
    return Step(acc, q, np.clip(q, layer["lo"], layer["lo"] + (1 << layer["a"]) - 1))
