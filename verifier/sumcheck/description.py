"""The public description D of an integer network, read from its bytes and validated (specification, sections 3 and 3.1).

Everything is checked before anything is computed whose cost or meaning depends on D; what `parse` gives is safe to compute with.
How many bits a proof must have is the caller's to say, not D's: `soundness`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

from verinfer.verifier import strict_json
from verinfer.verifier.errors import Malformed

from .multilinear import Dims, padded_bits

PROTOCOL = "verinfer-sc/1"

LARGEST = 1 << 16
"""Bytes of a description."""
MOST_LAYERS = 256
MOST_LENGTH = 1 << 20
"""Of a dimension, and of a tensor that is flattened."""
MOST_CELL_BITS = 28
"""Of a padded tensor or block of weights."""
MOST_BITS = 62
"""Integers below 2^62 in absolute value are equal where they are equal in the field."""
MOST_WINDOW = 16
MOST_FACTOR = 1 << 31

Operation = Literal["conv", "gemm", "linear", "pool"]

_TOP = frozenset({"proto", "t", "in_dims", "in_bits", "wb", "bb", "layers", "pcs"})
_COMMITMENT = frozenset({"log_blowup", "queries", "pow_bits", "fold", "final_bits", "leaf_bits"})
_OWN: dict[Operation, frozenset[str]] = {
    "conv": frozenset({"k", "stride", "pad", "cout"}),
    "gemm": frozenset({"nout"}),
    "linear": frozenset({"nout"}),
    "pool": frozenset({"k"}),
}
_RESCALING = frozenset({"M", "s", "a", "nb", "hb", "lo"})
_OPTIONAL = frozenset({"res", "src"})


@dataclass(frozen=True, slots=True)
class Commitment:
    """The parameters of the polynomial commitment, D's ``pcs``."""

    log_blowup: int
    queries: int
    pow_bits: int
    fold: int
    final_bits: int
    leaf_bits: int


@dataclass(frozen=True, slots=True)
class Rescaling:
    """How an accumulator becomes an activation: ``clamp(floor((M·acc + 2^(s-1)) / 2^s), lo, lo + 2^a - 1)``."""

    factor: int
    """M."""
    shift: int
    """s."""
    width: int
    """a: the bits of an activation above ``lowest``."""
    below: int
    """nb: bits of how far the rescaled accumulator may fall below ``lowest``."""
    above: int
    """hb: bits of how far it may rise above ``highest``."""
    lowest: int
    """lo."""

    @property
    def highest(self) -> int:
        """The largest activation."""
        return self.lowest + (1 << self.width) - 1

    @property
    def saturates(self) -> bool:
        """Whether the accumulator may leave the activation's range."""
        return bool(self.below or self.above)


@dataclass(frozen=True, slots=True)
class Residual:
    """An earlier layer's activation, added to the accumulator with an integer factor."""

    source: int
    factor: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; all dimensions are unpadded."""

    operation: Operation
    source: int
    """The layer whose activation it consumes; -1 is the network's input."""
    inputs: Dims
    outputs: Dims
    kernel: int
    """Height and width of a window; 1 for gemm and linear."""
    stride: int
    pad: int
    rescaling: Rescaling | None
    """None for the final layer, whose accumulator is the network's output."""
    residual: Residual | None

    @property
    def weighted(self) -> bool:
        """Whether it has weights."""
        return self.operation != "pool"

    @property
    def reduction(self) -> Dims:
        """What a weighted layer's products are summed over, in the order of its block of weights."""
        match self.operation:
            case "conv":
                return (self.inputs[0], self.kernel**2)
            case "gemm":
                return (prod(self.inputs),)
            case _:
                return self.inputs[-1:]

    @property
    def channels(self) -> int:
        """Rows of a weighted layer's weights, and entries of its bias."""
        return self.outputs[1] if self.operation == "linear" else self.outputs[0]


@dataclass(frozen=True, slots=True)
class Description:
    """A validated D."""

    limb: int
    """t: the bits of a limb."""
    inputs: Dims
    input_bits: int
    weight_bits: int
    bias_bits: int
    layers: tuple[Layer, ...]
    commitment: Commitment

    @property
    def outputs(self) -> Dims:
        """The dimensions of the network's output."""
        return self.layers[-1].outputs

    def lowest(self, source: int) -> int:
        """The smallest activation of a layer that is not final."""
        return _rescaling(self.layers[source]).lowest


def parse(data: bytes) -> Description:
    """The description in `data`, which must be its canonical form.

    Raises `Malformed` (``description-malformed``); the message names the place.
    """
    try:
        value = strict_json.parse(data, limit=LARGEST, what="description")
    except Malformed as error:
        raise Malformed("description-malformed", error.message) from error
    if json.dumps(value, sort_keys=True, separators=(",", ":")).encode() != data:
        raise _malformed("D", "must be in canonical form: ASCII, keys sorted, no spaces")
    top = _object(value, "D", _TOP)
    if top["proto"] != PROTOCOL:
        raise _malformed("proto", f"must be {PROTOCOL}")
    weight_bits = _integer(top, "wb", "D", 2, 32)
    bias_bits = _integer(top, "bb", "D", 2, 48)
    input_bits = _integer(top, "in_bits", "D", 1, 16)
    limb = _integer(top, "t", "D", 5, 16)
    inputs = _dims(top["in_dims"])
    entries = _list(top["layers"], "layers", 1, MOST_LAYERS)
    layers: list[Layer] = []
    for index, entry in enumerate(entries):
        place = f"layers[{index}]"
        last = index == len(entries) - 1
        layer = _layer(entry, place, inputs, layers, limb, last=last)
        _require_bounded(layer, place, layers, input_bits, weight_bits, bias_bits)
        layers.append(layer)
    if not any(layer.weighted for layer in layers):
        raise _malformed("layers", "need one with weights")
    commitment = _commitment(top["pcs"])
    return Description(limb, inputs, input_bits, weight_bits, bias_bits, tuple(layers), commitment)


def _layer(entry: Any, place: str, inputs: Dims, layers: list[Layer], limb: int, *, last: bool) -> Layer:
    if not isinstance(entry, dict) or entry.get("op") not in get_args(Operation):
        raise _malformed(place, "must be an object whose op is conv, gemm, linear or pool")
    operation: Operation = entry["op"]
    keys = frozenset({"op"}) | _OWN[operation] | (frozenset({"final"}) if last else _RESCALING)
    _object(entry, place, keys, _OPTIONAL)
    if last and _integer(entry, "final", place, 1, 1) != 1:
        raise _malformed(place, "final must be 1")
    index = len(layers)
    source = index - 1
    if "src" in entry:
        # The layer before is written by leaving src out, so that a network has one description.
        source = _integer(entry, "src", place, 0, index - 2)
    given = inputs if source < 0 else layers[source].outputs
    kernel, stride, pad = _window(entry, place, operation, given)
    outputs = _outputs(entry, place, operation, given, kernel, stride, pad)
    rescaling = None if last else _read_rescaling(entry, place, limb)
    residual = None
    if "res" in entry:
        residual = _residual(entry["res"], f"{place}.res", layers, outputs)
    layer = Layer(operation, source, given, outputs, kernel, stride, pad, rescaling, residual)
    # Padding can make an output larger than its input.
    if max(outputs) > MOST_LENGTH:
        raise _malformed(place, f"has a dimension of output above {MOST_LENGTH}")
    if padded_bits(outputs) > MOST_CELL_BITS:
        raise _malformed(place, f"has more than 2^{MOST_CELL_BITS} cells of output")
    if layer.weighted:
        _require_small_weights(layer, place)
    return layer


def _window(entry: dict[str, Any], place: str, operation: Operation, given: Dims) -> tuple[int, int, int]:
    """Kernel, stride and padding."""
    rank = {"conv": 3, "pool": 3, "linear": 2}.get(operation, len(given))
    if len(given) != rank:
        raise _malformed(place, f"{operation} takes a tensor of {rank} dimensions, not {len(given)}")
    if operation in {"gemm", "linear"}:
        return 1, 1, 0
    kernel = _integer(entry, "k", place, 1, MOST_WINDOW)
    stride, pad = kernel, 0
    if operation == "conv":
        stride = _integer(entry, "stride", place, 1, MOST_WINDOW)
        pad = _integer(entry, "pad", place, 0, kernel - 1)
    if kernel > min(given[1:]) + 2 * pad:
        raise _malformed(place, "has a window larger than what it slides over")
    return kernel, stride, pad


def _outputs(
    entry: dict[str, Any], place: str, operation: Operation, given: Dims, kernel: int, stride: int, pad: int
) -> Dims:
    match operation:
        case "gemm":
            return (_integer(entry, "nout", place, 1, MOST_LENGTH),)
        case "linear":
            return (given[0], _integer(entry, "nout", place, 1, MOST_LENGTH))
        case "pool":
            return (given[0], given[1] // kernel, given[2] // kernel)
        case "conv":
            rows, columns = ((size + 2 * pad - kernel) // stride + 1 for size in given[1:])
            return (_integer(entry, "cout", place, 1, MOST_LENGTH), rows, columns)


def _require_small_weights(layer: Layer, place: str) -> None:
    if layer.operation == "gemm" and len(layer.inputs) > 1 and prod(layer.inputs) > MOST_LENGTH:
        raise _malformed(place, f"flattens more than {MOST_LENGTH} elements")
    if padded_bits((layer.channels, *layer.reduction)) > MOST_CELL_BITS:
        raise _malformed(place, f"has more than 2^{MOST_CELL_BITS} cells of weights")


def _read_rescaling(entry: dict[str, Any], place: str, limb: int) -> Rescaling:
    most = MOST_BITS - 2
    width = _integer(entry, "a", place, 1, limb)
    below = _integer(entry, "nb", place, 0, most)
    above = _integer(entry, "hb", place, 0, most)
    shift = _integer(entry, "s", place, 1, most - max(width, below, above))
    factor = _integer(entry, "M", place, 1, MOST_FACTOR - 1)
    lowest = _integer(entry, "lo", place, -(1 << (width - 1)), 0)
    if lowest not in {0, -(1 << (width - 1))}:
        raise _malformed(f"{place}.lo", "must be 0 or -2^(a-1)")
    return Rescaling(factor, shift, width, below, above, lowest)


def _residual(value: Any, place: str, layers: list[Layer], outputs: Dims) -> Residual:
    entry = _object(value, place, frozenset({"src", "c"}))
    source = _integer(entry, "src", place, 0, len(layers) - 1)
    factor = _integer(entry, "c", place, 1 - MOST_FACTOR, MOST_FACTOR - 1)
    if factor == 0:
        raise _malformed(f"{place}.c", "must not be 0")
    if layers[source].outputs != outputs:
        raise _malformed(place, "must name a layer of the same shape")
    return Residual(source, factor)


def _require_bounded(
    layer: Layer, place: str, layers: list[Layer], input_bits: int, weight_bits: int, bias_bits: int
) -> None:
    """The static bound: no accumulator of weights within their widths leaves 62 bits, rescaled or not."""

    def largest(source: int) -> int:
        if source < 0:
            return (1 << input_bits) - 1
        rescaling = _rescaling(layers[source])
        return max(-rescaling.lowest, rescaling.highest)

    if layer.weighted:
        bound = prod(layer.reduction) * largest(layer.source) << (weight_bits - 1)
        bound += 1 << (bias_bits - 1)
    else:
        bound = layer.kernel**2 * largest(layer.source)
    if layer.residual is not None:
        bound += abs(layer.residual.factor) * largest(layer.residual.source)
    if layer.rescaling is not None:
        bound = layer.rescaling.factor * bound + (1 << (layer.rescaling.shift - 1))
    if bound >= 1 << MOST_BITS:
        raise _malformed(place, f"has an accumulator that could leave {MOST_BITS} bits")


def _commitment(value: Any) -> Commitment:
    entry = _object(value, "pcs", _COMMITMENT)
    return Commitment(
        log_blowup=_integer(entry, "log_blowup", "pcs", 1, 4),
        queries=_integer(entry, "queries", "pcs", 1, 256),
        pow_bits=_integer(entry, "pow_bits", "pcs", 0, 32),
        fold=_integer(entry, "fold", "pcs", 1, 4),
        final_bits=_integer(entry, "final_bits", "pcs", 1, 8),
        leaf_bits=_integer(entry, "leaf_bits", "pcs", 0, 5),
    )


def _dims(value: Any) -> Dims:
    sizes = _list(value, "in_dims", 1, 3)
    if not all(type(size) is int and 1 <= size <= MOST_LENGTH for size in sizes):
        raise _malformed("in_dims", f"must be integers from 1 to {MOST_LENGTH}")
    dims = tuple(sizes)
    if padded_bits(dims) > MOST_CELL_BITS:
        raise _malformed("in_dims", f"make more than 2^{MOST_CELL_BITS} cells")
    return dims


def _rescaling(layer: Layer) -> Rescaling:
    # Only the last layer has none, and nothing comes after it.
    assert layer.rescaling is not None
    return layer.rescaling


def _object(
    value: Any, place: str, required: frozenset[str], optional: frozenset[str] = frozenset()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _malformed(place, "must be an object")
    if missing := sorted(required - value.keys()):
        raise _malformed(place, f"lacks {', '.join(missing)}")
    if value.keys() - required - optional:
        raise _malformed(place, "has a key that does not belong there")
    return value


def _list(value: Any, place: str, fewest: int, most: int) -> list[Any]:
    if not isinstance(value, list) or not fewest <= len(value) <= most:
        raise _malformed(place, f"must be a list of {fewest} to {most} entries")
    return value


def _integer(entry: dict[str, Any], key: str, place: str, least: int, most: int) -> int:
    value = entry[key]
    if most < least:
        raise _malformed(f"{place}.{key}", "is not allowed here")
    # A bool is an int to Python.
    if type(value) is not int or not least <= value <= most:
        raise _malformed(f"{place}.{key}", f"must be an integer from {least} to {most}")
    return value


def _malformed(place: str, why: str) -> Malformed:
    return Malformed("description-malformed", f"{place} {why}.", field=place)
