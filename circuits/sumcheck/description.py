"""The public description D of an integer network: its bytes, its shapes, and the widths that make every input provable.

Takes layers and integer weights; gives D as plain JSON values (specification, section 3).
Whoever verifies reads D anew and validates it on its own; what is asserted here keeps a wrong D from being published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from verinfer.verifier.errors import CouldNotCheck

PROTOCOL = "verinfer-sc/1"

Description = dict[str, Any]
"""D, plain JSON values."""

Layer = dict[str, Any]
"""One entry of D's ``layers``."""

Integers = npt.NDArray[np.int64]

Weights = Mapping[str, Integers]
"""``W<l>`` and ``b<l>`` of each layer with weights, unpadded: [out, channels, k, k] or [out, in], and [out]."""

Dims = tuple[int, ...]

PROFILES = {1: 203, 2: 124, 3: 102, 4: 93}
"""Queries by the logarithm of 1/rate, for 100 bits with 16 of them grinding, decoding uniquely (section 7)."""

MOST_BITS = 62
"""Below 2^62 equality in the field is equality of integers."""

_WEIGHT_BITS = range(2, 33)
_BIAS_BITS = range(2, 49)


def commitment_parameters(log_blowup: int = 2) -> dict[str, int]:
    """The ``pcs`` part of D for this rate, 2^-`log_blowup`; 1/4 is what the specification recommends."""
    return {
        "log_blowup": log_blowup,
        "queries": PROFILES[log_blowup],
        "pow_bits": 16,
        "fold": 3,
        "final_bits": 5,
        "leaf_bits": 3,
    }


def canon(description: Description) -> bytes:
    """The bytes of D: JSON, keys sorted, no spaces, ASCII."""
    return json.dumps(description, sort_keys=True, separators=(",", ":")).encode("ascii")


def bits(count: int) -> int:
    """Bits of an index below `count`."""
    return (count - 1).bit_length()


def padded(dims: Sequence[int]) -> int:
    """Cells of a tensor whose dimensions are padded to powers of two each."""
    return 1 << sum(bits(size) for size in dims)


def source_of(description: Description, index: int) -> int:
    """Which layer's activation a layer consumes; -1 is the network's input."""
    return int(description["layers"][index].get("src", index - 1))


def input_dims(description: Description, index: int, outputs: Sequence[Dims]) -> Dims:
    """What a layer consumes, given the output dimensions of the layers before it."""
    source = source_of(description, index)
    return tuple(description["in_dims"]) if source < 0 else outputs[source]


def out_dims(description: Description) -> list[Dims]:
    """The unpadded output dimensions of each layer."""
    found: list[Dims] = []
    for index, layer in enumerate(description["layers"]):
        found.append(layer_dims(layer, input_dims(description, index, found)))
    return found


def layer_dims(layer: Layer, given: Dims) -> Dims:
    """The output dimensions of one layer."""
    match layer["op"]:
        case "conv":
            reach = 2 * layer["pad"] - layer["k"]
            rows, columns = ((size + reach) // layer["stride"] + 1 for size in given[1:])
            return (layer["cout"], rows, columns)
        case "pool":
            return (given[0], given[1] // layer["k"], given[2] // layer["k"])
        case "linear":
            return (given[0], layer["nout"])
        case "gemm":
            return (layer["nout"],)
        case other:
            raise ValueError(f"no operation {other}")


def activation_range(description: Description, index: int) -> tuple[int, int]:
    """The least and largest integer that a layer's activation may be; of -1, the network's input."""
    if index < 0:
        return 0, (1 << description["in_bits"]) - 1
    layer = description["layers"][index]
    return layer["lo"], layer["lo"] + (1 << layer["a"]) - 1


def accumulator_range(description: Description, index: int, weights: Weights) -> tuple[int, int]:
    """The least and largest value that any admissible input could give a layer's accumulator, from its integer weights."""
    layer = description["layers"][index]
    low, high = activation_range(description, source_of(description, index))
    if layer["op"] == "pool":
        window = layer["k"] ** 2
        least, most = window * low, window * high
    else:
        rows = weights[f"W{index}"].reshape(len(weights[f"b{index}"]), -1)
        positive, negative = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
        bias = weights[f"b{index}"]
        # What padding contributes, 0, is among what a cell may contribute, since low <= 0 <= high.
        least = int((positive * low + negative * high + bias).min())
        most = int((positive * high + negative * low + bias).max())
    if "res" in layer:
        factor = layer["res"]["c"]
        ends = [factor * end for end in activation_range(description, layer["res"]["src"])]
        least, most = least + min(ends), most + max(ends)
    return least, most


def finish(description: Description, weights: Weights) -> Description:
    """D with the widths that follow from its integer weights: ``wb``, ``bb``, and ``nb`` and ``hb`` of each layer.

    Raises `CouldNotCheck` (``no-circuit``) where section 3 is not met: an accumulator could leave 62 bits, or a weight its width.
    """
    whole = {
        **description,
        "wb": _width(weights, "W", _WEIGHT_BITS),
        "bb": _width(weights, "b", _BIAS_BITS),
        "layers": [dict(layer) for layer in description["layers"]],
    }
    shapes = out_dims(whole)
    for index, layer in enumerate(whole["layers"]):
        _require_small(whole, index, shapes)
        least, most = accumulator_range(whole, index, weights)
        if layer.get("final"):
            continue
        half, shift = 1 << (layer["s"] - 1), layer["s"]
        low, high = layer["lo"], layer["lo"] + (1 << layer["a"]) - 1
        layer["nb"] = max(0, low - ((layer["M"] * least + half) >> shift)).bit_length()
        layer["hb"] = max(0, ((layer["M"] * most + half) >> shift) - high).bit_length()
        if shift + max(layer["a"], layer["nb"], layer["hb"]) + 2 > MOST_BITS:
            raise _too_wide(index, "its shift and activation do not fit 62 bits together")
    return whole


def _require_small(description: Description, index: int, shapes: Sequence[Dims]) -> None:
    """The bound of section 3.1, which a verifier computes from D alone; in Python's integers, before numpy's could wrap."""
    layer = description["layers"][index]
    source = source_of(description, index)
    given = input_dims(description, index, shapes)
    largest = _magnitude(description, source)
    match layer["op"]:
        case "pool":
            bound = layer["k"] ** 2 * largest
        case operation:
            length = {"conv": given[0] * layer.get("k", 1) ** 2, "linear": given[-1]}.get(
                operation, prod(given)
            )
            bound = (length << (description["wb"] - 1)) * largest + (1 << (description["bb"] - 1))
    if "res" in layer:
        bound += abs(layer["res"]["c"]) * _magnitude(description, layer["res"]["src"])
    if not layer.get("final"):
        bound = layer["M"] * bound + (1 << (layer["s"] - 1))
    if bound >= 1 << MOST_BITS:
        raise _too_wide(index, "its accumulator could leave 62 bits")


def _magnitude(description: Description, index: int) -> int:
    return max(abs(end) for end in activation_range(description, index))


def _width(weights: Weights, kind: str, allowed: range) -> int:
    """The fewest bits that hold every weight, or every bias, in two's complement."""
    arrays = [value for name, value in weights.items() if name.startswith(kind)]
    ends = [int(end) for value in arrays for end in (value.min(), value.max())]
    needed = max(((~end if end < 0 else end).bit_length() for end in ends), default=0)
    width = max(allowed[0], needed + 1)
    if width not in allowed:
        raise CouldNotCheck(
            "no-circuit", f"A {kind} of the network takes {width} bits, more than {allowed[-1]}."
        )
    return width


def _too_wide(index: int, why: str) -> CouldNotCheck:
    return CouldNotCheck("no-circuit", f"Layer {index} of the integer network: {why}.")
