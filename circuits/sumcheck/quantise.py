"""Scales and integer weights for the stages of a network: D, and what stands between it and real numbers (section 3).

Each activation has a scale of its own, from the range that samples gave it; what leaves the range saturates.
``M`` is 1 everywhere: the scale of the weights makes each rescaling a shift, ``s_w = s_out · 2^-s / s_in``, and a pool's
divisor goes into the scale of its output. Only the network's input and output have scales that are powers of two, so that
every client quantises and reads exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, ldexp, log2
from typing import Any

import numpy as np

from verinfer.verifier.errors import CouldNotCheck, UsageError

from .description import PROTOCOL, Description, Integers, Weights, commitment_parameters, finish
from .network import INPUT, Network, Reals, Stage
from .ranges import Observed
from .validation import validated

MOST_INPUT_BITS = 16
LEAST_INPUT_BITS = 8
"""What clients measure has this much at least, whatever the layers have: input bits cost next to nothing."""

GUARD = 3
"""Bits that weights have beyond a stage's accuracy, where the remainder's columns do not grow by it."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """An integer network, and how real numbers become its input and its output becomes real ones.

    `input_scale` and `output_scale` count bits after the point; `input_zero` is the integer that stands for 0.
    """

    description: Description
    weights: Weights
    input_scale: int
    input_zero: int
    output_scale: int

    def admit(self, values: Reals) -> Integers:
        """Real inputs, of any shape, as integers that D admits: rounded half away from zero as `numbers.quantise`, then clamped.

        Raises `UsageError` (``value-not-finite``).
        """
        if not np.isfinite(values).all():
            raise UsageError("value-not-finite", "An input is not a finite number.")
        top = (1 << self.description["in_bits"]) - 1
        # Nothing beyond this matters, and it is exact in binary64.
        scaled = np.clip(np.ldexp(np.asarray(values, np.float64), self.input_scale), -(2.0**40), 2.0**40)
        size = np.abs(scaled)
        whole = np.floor(size)
        whole += size - whole >= 0.5
        integers: Integers = np.copysign(whole, scaled).astype(np.int64) + self.input_zero
        return integers.clip(0, top)

    def real(self, outputs: Integers) -> Reals:
        """The network's outputs as real numbers."""
        return np.ldexp(outputs.astype(np.float64), -self.output_scale)


@dataclass(frozen=True, slots=True)
class Input:
    """How the input is quantised: bits after the point, the integer of 0, and the width."""

    scale: int
    zero: int
    bits: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """A stage's choice: bits of its activation, the real number that 1 stands for, its sign, and the shifts that will do.

    Of the last stage, whose accumulator is the output, `scale` is the accumulator's unit.
    """

    width: int
    scale: float
    signed: bool
    least_shift: int
    most_shift: int

    @property
    def least(self) -> int:
        """``lo``."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def most(self) -> int:
        """The largest activation."""
        return self.least + (1 << self.width) - 1

    def shift(self, limb_bits: int) -> int:
        """``s``: as much as fits the limbs that the least shift takes anyway."""
        whole = -(-self.least_shift // limb_bits) * limb_bits
        return min(self.most_shift, whole)


def input_numbers(low: float, high: float, bits: int) -> Input:
    """The input's numbers for values in this range, 0 included."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = ceil(log2(((1 << max(bits, LEAST_INPUT_BITS)) - 1) / ((high - low) or 1.0)))
    while True:
        zero = ceil(ldexp(-low, scale))
        width = max(1, (zero + ceil(ldexp(high, scale))).bit_length())
        if width <= MOST_INPUT_BITS:
            return Input(scale, zero, width)
        scale -= 1


def plan(network: Network, observed: Observed, bits: int, widths: Sequence[int]) -> list[Numbers]:
    """Every stage's numbers, for weights of `bits` bits at least and activations of these widths."""
    given = input_numbers(*observed.given, bits)
    found: list[Numbers] = []

    def scale_of(index: int) -> float:
        return ldexp(1.0, -given.scale) if index == INPUT else found[index].scale

    for index, (stage, width) in enumerate(zip(network.stages, widths, strict=True)):
        source, peak = scale_of(stage.source), observed.peaks[index]
        added = None if stage.add is None else scale_of(stage.add)
        if index == len(network.stages) - 1:
            found.append(_final(source, peak, added, bits, width))
        elif stage.op == "pool":
            signed = stage.source != INPUT and found[stage.source].signed
            found.append(
                _pool(stage, source, _scale(observed.outputs[index], width, signed=signed), width, signed)
            )
        else:
            scale = _scale(observed.outputs[index], width, signed=stage.low < 0) or 1.0
            found.append(_weighted(scale, source, peak, added, bits, width, signed=stage.low < 0))
    return found


def _scale(seen: tuple[float, float], width: int, *, signed: bool) -> float:
    """The smallest scale at which these values fit the width."""
    low, high = seen
    if signed:
        return max(high / ((1 << (width - 1)) - 1), -low / (1 << (width - 1)))
    return max(high, 0.0) / ((1 << width) - 1)


def _final(source: float, peak: float, added: float | None, bits: int, width: int) -> Numbers:
    largest = (1 << (bits + GUARD - 1)) - 1
    fraction = floor(log2(largest / (peak * source))) if peak else 0
    if added is not None:
        fraction = max(fraction, ceil(bits - 1 - log2(added)))
    return Numbers(width, ldexp(1.0, -fraction), True, 0, 0)


def _pool(stage: Stage, source: float, wanted: float, width: int, signed: bool) -> Numbers:
    unit = source / stage.k**2
    shift = max(1, ceil(log2(wanted / unit))) if wanted > 0 else 1
    return Numbers(width, ldexp(unit, shift), signed, shift, shift)


def _weighted(
    scale: float, source: float, peak: float, added: float | None, bits: int, width: int, *, signed: bool
) -> Numbers:
    ratio = scale / (source * peak) if peak else 1.0
    least, most = (max(1, floor(log2(((1 << (size - 1)) - 1) * ratio))) for size in (bits, bits + GUARD))
    if added is not None:
        # The shortcut's factor is an integer of so many bits.
        least = max(least, ceil(bits - 1 + log2(scale / added)))
    return Numbers(width, scale, signed, least, max(least, most))


def outline(
    network: Network, observed: Observed, bits: int, limb_bits: int, numbers: Sequence[Numbers]
) -> Description:
    """D without weights: saturation widths are estimated from real numbers, to know what a choice will cost."""
    given = input_numbers(*observed.given, bits)
    description = _frame(network, given, limb_bits)
    ends = [(choice.least * choice.scale, choice.most * choice.scale) for choice in numbers]
    top = ldexp((1 << given.bits) - 1 - given.zero, -given.scale)
    ends.append((ldexp(-given.zero, -given.scale), top))  # at INPUT, which is -1
    for index, (stage, choice) in enumerate(zip(network.stages, numbers, strict=True)):
        layer = _layer(network, index, choice, limb_bits)
        if "final" not in layer:
            least, most = observed.reach(network, index, ends)
            layer["nb"] = max(0, ceil(choice.least - least / choice.scale)).bit_length()
            layer["hb"] = max(0, ceil(most / choice.scale - choice.most)).bit_length()
        if stage.add is not None:
            layer["res"] = {"src": stage.add, "c": 1}
        description["layers"].append(layer)
    return description


def _frame(network: Network, given: Input, limb_bits: int) -> Description:
    return {
        "proto": PROTOCOL,
        "t": limb_bits,
        "in_dims": list(network.in_dims),
        "in_bits": given.bits,
        "layers": [],
        "pcs": commitment_parameters(),
    }


def _layer(network: Network, index: int, numbers: Numbers, limb_bits: int) -> dict[str, Any]:
    stage = network.stages[index]
    sizes: dict[str, dict[str, int]] = {
        "conv": {"k": stage.k, "stride": stage.stride, "pad": stage.pad, "cout": stage.dims[0]},
        "pool": {"k": stage.k},
    }
    layer: dict[str, Any] = {"op": stage.op, **sizes.get(stage.op, {"nout": stage.dims[-1]})}
    if stage.source != index - 1:
        layer["src"] = stage.source
    if index == len(network.stages) - 1:
        return {**layer, "final": 1}
    return {**layer, "M": 1, "s": numbers.shift(limb_bits), "a": numbers.width, "lo": numbers.least}


def build(
    network: Network, observed: Observed, bits: int, limb_bits: int, widths: Sequence[int]
) -> Quantised:
    """The integer network of these numbers.

    Raises `CouldNotCheck` (``no-circuit``) where they do not fit 62 bits, a weight not its width, or D not section 3.1.
    """
    numbers, given = plan(network, observed, bits, widths), input_numbers(*observed.given, bits)
    description = _frame(network, given, limb_bits)
    weights: dict[str, Integers] = {}
    scales = [*(choice.scale for choice in numbers), ldexp(1.0, -given.scale)]  # INPUT is -1
    for index, (stage, choice) in enumerate(zip(network.stages, numbers, strict=True)):
        layer = _layer(network, index, choice, limb_bits)
        unit = ldexp(choice.scale, -layer.get("s", 0))
        if stage.weights is not None:
            assert stage.bias is not None
            kernel = _integers(stage.weights * (scales[stage.source] / unit), 32)
            rows = kernel.reshape(len(kernel), -1).sum(axis=1)
            zero = given.zero if stage.source == INPUT else 0
            # Exact for the integer weights, so that a large offset adds no error of its own.
            weights |= {f"W{index}": kernel, f"b{index}": _integers(stage.bias / unit, 55) - zero * rows}
        if stage.add is not None:
            factor = int(_integers(np.array([scales[stage.add] / unit]), 55)[0])
            if not 0 < factor < 1 << 31:
                raise CouldNotCheck("no-circuit", f"The shortcut to {stage.name} has no factor of 31 bits.")
            layer["res"] = {"src": stage.add, "c": factor}
        description["layers"].append(layer)
    fraction = -round(log2(numbers[-1].scale))
    whole = finish(description, weights)
    validated(whole)
    return Quantised(whole, weights, given.scale, given.zero, fraction)


def _integers(values: Reals, most_bits: int) -> Integers:
    """Rounded; raises where a number is far beyond every width that D has, before int64 could wrap."""
    if np.abs(values).max(initial=0.0) >= 1 << most_bits:
        raise CouldNotCheck("no-circuit", f"An integer of the network would take more than {most_bits} bits.")
    return np.rint(values).astype(np.int64)
