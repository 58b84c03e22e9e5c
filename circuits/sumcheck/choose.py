"""From an ONNX file and samples to the cheapest integer network that computes what fp32 does.

A proof's time goes with the cells of its witness, a power of two, so the least power that meets the target is taken, and in it
as many bits as fit. Every other sample gives the ranges; the others, which nothing was fitted to, must meet the target too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from verinfer.verifier import files
from verinfer.verifier.errors import CouldNotCheck, Malformed

from .. import stages
from ..calibrate import Fidelity, Reference, agree, good
from ..difference import largest_difference
from ..native import Workplace
from ..targets import Targets
from .description import Description
from .layout import layout_of, limbs
from .network import INPUT, Network, Reals, compute, read_network, with_copy
from .quantise import Quantised, build, outline, plan
from .ranges import Observed, observe, with_ranges
from .reference import run_many

BITS = range(5, 17)
"""Of activations, and of limbs (section 3.1)."""

_RULES = ("fold", "batch-normalisation", "fold")
"""What is done to a graph before its stages are read."""

_MOST_BYTES = 1 << 30
"""Of the file that a child writes stages' numbers to; twice what `_drafts` lets it have."""
_CHUNK = 64
"""Samples that are computed at a time."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A choice before it is made: bits of weights and, by stage, of activations; limbs; the bits of its witness's size."""

    bits: int
    limb_bits: int
    widths: tuple[int, ...]
    witness_bits: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A choice that was made, and how it does on the samples that gave its ranges (`fitted`) and on the others (`held_out`)."""

    offer: Offer
    fitted: Fidelity
    held_out: Fidelity


@dataclass(frozen=True, slots=True)
class Recorded:
    """The numbers of a choice, from which its integer network follows without samples: what a manifest has of it.

    `given` and `outputs`: the ranges, headroom included, of the input and of each stage's output.
    """

    bits: int
    limb_bits: int
    widths: tuple[int, ...]
    given: tuple[float, float]
    outputs: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The integer network, its numbers, its trial, and those before it that did not do; and `others`, to compare with."""

    quantised: Quantised
    recorded: Recorded
    trial: Trial
    rejected: tuple[Trial, ...]
    others: tuple[Trial, ...] = ()


def import_network(
    model: Path, reference: Reference, targets: Targets, place: Workplace, *, survey_seconds: float = 0.0
) -> Chosen:
    """The integer network of an inspected ONNX file that agrees with fp32 as `targets` demands.

    When it is found, other bits are tried for so many seconds more, for whoever wants to see what they would do.

    Raises `Malformed` (``model-unsupported``) with the node that cannot be proven, (``sample-malformed``) for a single sample,
    `CouldNotCheck` (``no-circuit``) where no choice of numbers will do, and what children raise.
    """
    network = read_stages(model, place)
    (inputs,) = (np.asarray(reference.samples[tensor.name], np.float64) for tensor in reference.spec.inputs)
    inputs = inputs[: len(reference.outputs)]
    if len(inputs) < 2:
        raise Malformed("sample-malformed", "Quantisation takes two samples at least: one is held out.")
    computed = [
        [row.tolist()] for chunk in compute(network, inputs) for row in chunk[-1].reshape(len(chunk[-1]), -1)
    ]
    if largest_difference(computed, reference.outputs, reference.batch) > stages.REWRITE_TOLERANCE:
        raise CouldNotCheck("rewrite-differs", "The network's stages do not compute what the model does.")
    return choose(network, inputs, reference, targets, survey_seconds=survey_seconds)


def remake(network: Network, recorded: Recorded) -> Quantised:
    """The integer network that `choose` made of the same stages when it recorded these numbers.

    Raises `CouldNotCheck` (``no-circuit``) where they do not fit the stages, or each other.
    """
    bits, limb_bits, widths = recorded.bits, recorded.limb_bits, recorded.widths
    if len(widths) == len(network.stages) + 1:
        network = with_copy(network)
    if not len(widths) == len(recorded.outputs) == len(network.stages):
        raise CouldNotCheck("no-circuit", "The numbers are of another count of stages than the network has.")
    # A search gives none outside; what is narrower could agree with fp32 by accident only.
    if not all(bits <= width <= limb_bits for width in widths):
        raise CouldNotCheck("no-circuit", f"An activation has not from {bits} to {limb_bits} bits.")
    try:
        return build(network, with_ranges(network, recorded.given, recorded.outputs), bits, limb_bits, widths)
    except (ArithmeticError, ValueError) as error:
        raise CouldNotCheck("no-circuit", f"The ranges are none of a network: {error}.") from error


def read_stages(model: Path, place: Workplace) -> Network:
    """The stages of an ONNX file; raises `Malformed` (``model-refused``, ``model-unsupported``)."""
    plain = stages.apply_rules(model, _RULES, place)
    numbers = place.directory / "stages.bin"
    answer = place.stages(model=plain, output=numbers)
    return read_network(answer, files.read(numbers, limit=_MOST_BYTES))


def choose(
    network: Network, inputs: Reals, reference: Reference, targets: Targets, *, survey_seconds: float = 0.0
) -> Chosen:
    """As `import_network`, of stages and preprocessed samples, [n, …]."""
    network = admissible(network, float(inputs.min()))
    halves = inputs[::2], inputs[1::2]
    parts = [replace(reference, outputs=reference.outputs[start::2]) for start in (0, 1)]
    observed = observe(network, halves[0])

    def made_of(offer: Offer) -> tuple[Quantised, Trial] | None:
        try:
            made = build(network, observed, offer.bits, offer.limb_bits, offer.widths)
        except CouldNotCheck:
            # Many bits of everything may leave 62 together; fewer will not.
            return None
        fitted, held_out = (agreement(made, *half) for half in zip(halves, parts, strict=True))
        return made, Trial(offer, fitted, held_out)

    # All bits that one size of witness holds cost the same.
    offers = sorted(
        (_offer(network, observed, bits) for bits in BITS),
        key=lambda offer: (offer.witness_bits, -offer.bits),
    )
    rejected: list[Trial] = []
    for offer in offers:
        if any(offer.bits <= trial.offer.bits for trial in rejected) or (found := made_of(offer)) is None:
            continue
        made, trial = found
        if all(
            good(found, part, targets)
            for found, part in zip((trial.fitted, trial.held_out), parts, strict=True)
        ):
            recorded = Recorded(offer.bits, offer.limb_bits, offer.widths, observed.given, observed.outputs)
            known = {offer, *(each.offer for each in rejected)}
            rest = (each for each in offers if each not in known)
            return Chosen(
                made, recorded, trial, tuple(rejected), tuple(_survey(rest, made_of, survey_seconds))
            )
        rejected.append(trial)
    raise CouldNotCheck(
        "no-circuit",
        f"No integer network of {BITS[0]} to {BITS[-1]} bits meets the target: {_best(rejected)}.",
    )


def _survey(
    offers: Iterable[Offer], made_of: Callable[[Offer], tuple[Quantised, Trial] | None], seconds: float
) -> Iterator[Trial]:
    """How other offers do, as many as there is time for."""
    deadline = time.monotonic() + seconds
    for offer in offers:
        if time.monotonic() >= deadline:
            return
        if (found := made_of(offer)) is not None:
            yield found[1]


def _best(trials: Sequence[Trial]) -> str:
    if not trials:
        return "none fits 62 bits"
    best = max(trials, key=lambda trial: (trial.held_out.agreement, -trial.held_out.error))
    return f"the best agrees on {best.held_out.agreement:.2%} of held-out samples, its error is {best.held_out.error:g}"


def admissible(network: Network, least: float) -> Network:
    """The network with a copy of its input in front where D needs one, for inputs down to `least`.

    D lets one layer alone read the input, which is never negative. An offset goes into that layer's bias, but where it pads, the
    zeros outside would count as `least`; and a pool has no bias.
    """
    readers = [stage for stage in network.stages for source in (stage.source, stage.add) if source == INPUT]
    padded = any(stage.op == "pool" or stage.pad for stage in readers)
    added = any(stage.add == INPUT for stage in network.stages)
    return with_copy(network) if len(readers) > 1 or added or (padded and least < 0) else network


def agreement(made: Quantised, inputs: Reals, reference: Reference) -> Fidelity:
    """How an integer network compares with fp32, whose outputs for these inputs, [n, …], are the reference's."""
    outputs: list[list[list[float]]] = []
    for start in range(0, len(inputs), _CHUNK):
        given = made.admit(inputs[start : start + _CHUNK])
        found = made.real(run_many(made.description, made.weights, given))
        outputs += [[row.tolist()] for row in found.reshape(len(given), -1)]
    return agree(outputs, reference.outputs, reference.batch)


def _offer(network: Network, observed: Observed, bits: int) -> Offer:
    """The limbs with which this many bits cost least, and the wider activations that are free then."""
    even = (bits,) * len(network.stages)
    numbers = plan(network, observed, bits, even)

    def size(limb_bits: int) -> tuple[int, int]:
        layout = layout_of(outline(network, observed, bits, limb_bits, numbers))
        return layout.witness_bits, sum(1 << block.bits for block in layout.witness.values())

    limb_bits = min((limb for limb in BITS if limb >= bits), key=size)
    description = outline(network, observed, bits, limb_bits, numbers)
    widths: list[int] = []
    for stage, layer in zip(network.stages, description["layers"], strict=True):
        # A mean of integers has no more bits than they have.
        pooled = stage.op == "pool" and stage.source != INPUT
        widths.append(widths[stage.source] if pooled else _widest(layer, limb_bits))
    wider = outline(network, observed, bits, limb_bits, plan(network, observed, bits, widths))
    least, witness_bits = size(limb_bits)[0], layout_of(wider).witness_bits
    return Offer(bits, limb_bits, even if witness_bits > least else tuple(widths), least)


def _widest(layer: Description, limb_bits: int) -> int:
    """The bits that a layer's activation may have without a further limb for what saturates, which grow with it."""
    if "final" in layer:
        return limb_bits
    spare = [len(limbs(layer[key], limb_bits)) * limb_bits - layer[key] for key in ("nb", "hb") if layer[key]]
    return int(min([limb_bits, *(layer["a"] + room for room in spare)]))
