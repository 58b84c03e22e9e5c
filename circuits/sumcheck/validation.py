"""Validation of D (section 3.1): what setup demands before it allocates anything. Verifiers have their own.

The parameter sets of the commitment scheme are the only ones there are; which of them is enough is the policy's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from verinfer.verifier.errors import CouldNotCheck

from .description import (
    MOST_BITS,
    PROFILES,
    PROTOCOL,
    Description,
    Dims,
    Layer,
    activation_range,
    canon,
    layer_dims,
    padded,
)
from .layout import Layout, Stage, layout_of

MOST_BYTES = 1 << 16
MOST_LAYERS = 256
MOST_SIDE = 1 << 20
MOST_CELLS = 1 << 28
MOST_WITNESS_BITS = 26
MOST_LEAVES_BITS = 25
MOST_ORDER_BITS = 32
MOST_STEPS = 1 << 22

_TOP = {"proto", "t", "in_dims", "in_bits", "wb", "bb", "layers", "pcs"}
_PCS = {"log_blowup", "queries", "pow_bits", "fold", "final_bits", "leaf_bits"}
_OPERATION = {"conv": {"k", "stride", "pad", "cout"}, "gemm": {"nout"}, "linear": {"nout"}, "pool": {"k"}}
_REQUANTISED = {"M", "s", "a", "nb", "hb", "lo"}
_OPTIONAL = {"res", "src"}
_RANK = {"conv": (3,), "pool": (3,), "linear": (2,), "gemm": (1, 2, 3)}


def validated(description: Description) -> Layout:
    """The layout of a D that meets section 3.1; raises `CouldNotCheck` (``no-circuit``), naming the rule, of any other."""
    _values(description, "D")
    _keys(description, _TOP, set(), "D")
    _demand(description["proto"] == PROTOCOL, f"proto is not {PROTOCOL}")
    for key, low, high in (("t", 5, 16), ("in_bits", 1, 16), ("wb", 2, 32), ("bb", 2, 48)):
        _within(description[key], low, high, key)
    layers = description["layers"]
    _demand(isinstance(layers, list) and 1 <= len(layers) <= MOST_LAYERS, "layers are not 1 to 256")
    _demand(isinstance(description["in_dims"], list), "in_dims is no list")
    _commitment(description["pcs"])
    outputs: list[Dims] = []
    given = _dims(description["in_dims"], "in_dims")
    for index, layer in enumerate(layers):
        where = f"layer {index}"
        _layer_keys(layer, index == len(layers) - 1, where)
        if "src" in layer:
            _demand(index >= 2, f"{where} has no earlier source to choose")
            _within(layer["src"], 0, index - 2, f"{where}: src")
            given = outputs[layer["src"]]
        outputs.append(_shape(layer, given, where))
        _shortcut(description, index, outputs, where)
        _bound(description, index, given, where)
        given = outputs[-1]
    _demand(len(canon(description)) <= MOST_BYTES, "canon(D) is longer than 64 KiB")
    return _sizes(layout_of(description))


def _demand(holds: bool, rule: str) -> None:
    if not holds:
        raise CouldNotCheck("no-circuit", f"This is no network that can be proven: {rule}.")


def _values(value: Any, where: str) -> None:
    """Only objects, lists, ASCII strings and integers below 2^62: canonical JSON has one form for these."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _values(key, where)
            _values(inner, where)
    elif isinstance(value, list):
        for inner in value:
            _values(inner, where)
    elif type(value) is int:
        _demand(abs(value) < 1 << MOST_BITS, f"a number of {where} takes 62 bits or more")
    else:
        _demand(type(value) is str and value.isascii(), f"{where} holds something else than integers")


def _keys(value: Any, needed: set[str], optional: set[str], where: str) -> None:
    _demand(isinstance(value, Mapping), f"{where} is no object")
    _demand(needed <= set(value) <= needed | optional, f"{where} has other keys than {sorted(needed)}")


def _within(value: Any, low: int, high: int, where: str) -> None:
    _demand(type(value) is int and low <= value <= high, f"{where} is not in {low} .. {high}")


def _commitment(pcs: Any) -> None:
    _keys(pcs, _PCS, set(), "pcs")
    _within(pcs["log_blowup"], min(PROFILES), max(PROFILES), "log_blowup")
    _demand(pcs["queries"] == PROFILES[pcs["log_blowup"]], "queries are not those of the rate")
    _demand(pcs["pow_bits"] == 16, "pow_bits is not 16")
    for key, low, high in (("fold", 1, 4), ("final_bits", 1, 8), ("leaf_bits", 0, 5)):
        _within(pcs[key], low, high, key)


def _dims(dims: Any, where: str) -> Dims:
    _demand(1 <= len(dims) <= 3, f"{where} does not have 1 to 3 dimensions")
    for size in dims:
        _within(size, 1, MOST_SIDE, where)
    _demand(padded(dims) <= MOST_CELLS, f"{where} has more than 2^28 cells")
    return tuple(dims)


def _layer_keys(layer: Any, last: bool, where: str) -> None:
    _demand(isinstance(layer, Mapping) and layer.get("op") in list(_OPERATION), f"{where} has no operation")
    rest = {"final"} if last else _REQUANTISED
    _keys(layer, {"op"} | _OPERATION[layer["op"]] | rest, _OPTIONAL, where)
    if last:
        _demand(layer["final"] == 1, f"{where}: final is not 1")


def _shape(layer: Layer, given: Dims, where: str) -> Dims:
    operation = layer["op"]
    _demand(len(given) in _RANK[operation], f"{where}: {operation} of rank {len(given)}")
    if operation == "conv":
        for key in ("k", "stride"):
            _within(layer[key], 1, 16, f"{where}: {key}")
        _within(layer["pad"], 0, layer["k"] - 1, f"{where}: pad")
        _within(layer["cout"], 1, MOST_SIDE, f"{where}: cout")
        _within(layer["k"], 1, min(given[1:]) + 2 * layer["pad"], f"{where}: k")
        _demand(layer["cout"] * given[0] <= MOST_CELLS, f"{where} has more than 2^28 weights")
        weights = (layer["cout"], given[0], layer["k"] ** 2)
    elif operation == "pool":
        _within(layer["k"], 1, min(16, *given[1:]), f"{where}: k")
        return _dims(layer_dims(layer, given), where)
    else:
        _within(layer["nout"], 1, MOST_SIDE, f"{where}: nout")
        length = given[-1] if operation == "linear" else prod(given)
        _demand(length <= MOST_SIDE, f"{where} flattens more than 2^20 cells")
        weights = (layer["nout"], length, 1)
    _demand(padded(weights) <= MOST_CELLS, f"{where} has more than 2^28 weights")
    return _dims(layer_dims(layer, given), where)


def _shortcut(description: Description, index: int, outputs: list[Dims], where: str) -> None:
    layer = description["layers"][index]
    if "res" in layer:
        shortcut = layer["res"]
        _keys(shortcut, {"src", "c"}, set(), f"{where}: res")
        _within(shortcut["src"], 0, index - 1, f"{where}: res.src")
        _demand(outputs[shortcut["src"]] == outputs[index], f"{where} adds another shape")
        _within(shortcut["c"], 1 - (1 << 31), (1 << 31) - 1, f"{where}: res.c")
        _demand(shortcut["c"] != 0, f"{where}: res.c is 0")


def _bound(description: Description, index: int, given: Dims, where: str) -> None:
    """The static bound: no accumulator can wrap, whatever the weights within their widths are."""
    layer = description["layers"][index]
    largest = magnitude(description, layer.get("src", index - 1))
    if layer["op"] == "pool":
        accumulator = layer["k"] ** 2 * largest
    else:
        length = {"conv": given[0] * layer.get("k", 1) ** 2, "linear": given[-1], "gemm": prod(given)}[
            layer["op"]
        ]
        accumulator = (length << (description["wb"] - 1)) * largest + (1 << (description["bb"] - 1))
    if "res" in layer:
        accumulator += abs(layer["res"]["c"]) * magnitude(description, layer["res"]["src"])
    if "final" in layer:
        _demand(accumulator < 1 << MOST_BITS, f"{where} could leave 62 bits")
        return
    _within(layer["M"], 1, (1 << 31) - 1, f"{where}: M")
    _within(layer["a"], 1, description["t"], f"{where}: a")
    _within(layer["s"], 1, MOST_BITS, f"{where}: s")
    for key in ("nb", "hb"):
        _within(layer[key], 0, MOST_BITS, f"{where}: {key}")
    together = layer["s"] + max(layer["a"], layer["nb"], layer["hb"]) + 2
    _demand(together <= MOST_BITS, f"{where}: its shift and activation do not fit 62 bits")
    _demand(layer["lo"] in (0, -(1 << (layer["a"] - 1))), f"{where}: lo is neither 0 nor -2^(a-1)")
    accumulator = layer["M"] * accumulator + (1 << (layer["s"] - 1))
    _demand(accumulator < 1 << MOST_BITS, f"{where} could leave 62 bits")


def magnitude(description: Description, index: int) -> int:
    """The largest absolute value of a layer's activation; of -1, the network's input."""
    return max(abs(end) for end in activation_range(description, index))


def _sizes(layout: Layout) -> Layout:
    _demand(bool(layout.products), "no layer has weights")
    _demand(layout.product_bits >= 1, "the longest reduction has one cell")
    _demand(layout.witness_bits <= MOST_WITNESS_BITS, "its witness has more than 2^26 cells")
    blowup = layout.blowup_bits
    _demand(layout.leaves_bits + blowup <= MOST_LEAVES_BITS, "its trees have more than 2^25 leaves")
    longest = max(layout.witness_bits, layout.weights_bits)
    _demand(longest + blowup <= MOST_ORDER_BITS, "a codeword is longer than 2^32")
    _demand(sum(map(_steps, layout.stages)) <= MOST_STEPS, "its layers go over too many cells for a verifier")
    return layout


def _steps(stage: Stage) -> int:
    """What it costs a verifier to evaluate the functional of what a layer consumes."""
    match stage.operation:
        case "conv":
            return int(stage.layer["k"]) * sum(stage.out[1:]) + sum(stage.given[1:])
        case "pool":
            return sum(stage.given[1:])
        case "gemm" if len(stage.given) > 1:
            return prod(stage.given)
        case _:
            return 0
