"""Chooses run args: the cheapest that agree with the fp32 model on real samples, with a margin.

Takes a wrapped ONNX file and samples; gives one `Choice`. A first, small search; every step is deterministic.
What may be chosen and what it costs is in `candidates`; here is how well it computes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from verinfer.verifier.digest import CHALLENGE_LIMBS
from verinfer.verifier.errors import CouldNotCheck, VerinferError
from verinfer.verifier.instances import from_field_hex, to_field_hex
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.model_spec import ModelSpec
from verinfer.verifier.numbers import dequantise, quantise

from .candidates import Candidate, count_rows, is_steady, price_all
from .native import Workplace

AGREEMENT = 0.995
"""Least share of samples whose label equals the fp32 model's."""

TOLERANCE = 0.02
"""Largest error of a regression, as a share of the fp32 outputs' range over the samples."""

MARGIN = 1.25
"""Samples scaled by this must still be inside the circuit's range."""

_SCREEN = 16
_ROW_BUDGET = 36_000_000
"""Rows of forward passes spent on one candidate, about half a minute: every sample of a small circuit, 100 of LeNet-5."""

Described = ModelSpec | Manifest
"""What says a model's tensors and task: its spec, or a manifest that copies it."""

Outputs = Sequence[Sequence[Sequence[float]]]
"""fp32 outputs: by sample, by tensor, flat."""

Samples = dict[str, list[list[float] | list[int]]]
"""Preprocessed samples: by input name, a list of flat tensors."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How a circuit compares with the fp32 model on samples; `error` is absolute, in the outputs' own units."""

    samples: int
    agreement: float
    error: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen run args, what they cost by estimate, and how well they do."""

    candidate: Candidate
    rows: int
    seconds: float
    fidelity: Fidelity
    tried: int


def choose(
    wrapped: str,
    spec: Described,
    samples: Samples,
    expected: Outputs,
    place: Workplace,
    on_progress: Callable[[float], None],
) -> Choice:
    """The cheapest run args whose forward pass agrees with `expected`, the fp32 outputs by sample and tensor.

    Raises `CouldNotCheck` (``no-circuit``) if none does.
    """
    priced = price_all(wrapped, place)
    # Agreement depends on the numbers alone; columns and k only arrange the same computation.
    refused: set[tuple[int, int, int, int]] = set()
    best: Fidelity | None = None
    for index, price in enumerate(priced):
        on_progress(index / len(priced))
        if price.candidate.numbers in refused:
            continue
        run_args = price.candidate.run_args()
        settings = count_rows(wrapped, [run_args], place)[0]
        if settings is None or not is_steady(settings):
            continue
        fidelity = _screened(wrapped, run_args, settings, spec, samples, expected, place)
        if fidelity is not None and good(fidelity, spec.task, expected):
            return Choice(price.candidate, settings["num_rows"], price.seconds, fidelity, len(refused) + 1)
        refused.add(price.candidate.numbers)
        if fidelity is not None and (best is None or fidelity.agreement > best.agreement):
            best = fidelity
    what = (
        "none stays in range"
        if best is None
        else f"the best agrees on {best.agreement:.2%}, error {best.error:.3g}"
    )
    raise CouldNotCheck(
        "no-circuit", f"None of {len(refused)} choices of numbers agrees with the fp32 model: {what}."
    )


def _screened(
    wrapped: str,
    run_args: dict[str, Any],
    settings: dict[str, Any],
    spec: Described,
    samples: Samples,
    expected: Outputs,
    place: Workplace,
) -> Fidelity | None:
    """As `measure`, but run args that already fail on a few samples get no more of them."""
    first = measure(wrapped, run_args, settings, spec, samples, expected[:_SCREEN], place)
    if first is None or not good(first, spec.task, expected):
        return first
    return measure(wrapped, run_args, settings, spec, samples, expected, place)


def measure(
    wrapped: str,
    run_args: dict[str, Any],
    settings: dict[str, Any],
    spec: Described,
    samples: Samples,
    expected: Outputs,
    place: Workplace,
) -> Fidelity | None:
    """Compare a circuit's forward pass with fp32 on samples; None if a sample, or one with margin, is out of range.

    `settings` are EZKL's for exactly these run args: rows and scales are read from them.
    """
    count = min(len(expected), max(_ROW_BUDGET // settings["num_rows"], _SCREEN))
    scales, bound = settings["model_input_scales"], run_args["decomp_base"] ** run_args["decomp_legs"]
    try:
        inputs = [_field_inputs(spec, samples, index, 1.0, bound, scales) for index in range(count)]
        # A sparser sweep for the margin: range is decided by the extremes, and these rise and fall together.
        inputs += [_field_inputs(spec, samples, index, MARGIN, bound, scales) for index in range(0, count, 4)]
    except VerinferError:
        return None
    path = place.directory / "trial.inputs.json"
    path.write_text(json.dumps(inputs))
    results = place.ezkl(
        "forward_many", model=wrapped, run_args=run_args, inputs=path, directory=place.directory
    )
    if results is None:
        return None
    return compare(results[:count], expected[:count], settings["model_output_scales"])


def compare(
    results: Sequence[Sequence[Sequence[str]]],
    expected: Outputs,
    scales: Sequence[int],
) -> Fidelity:
    """Agreement of the first output's argmax, and the largest absolute error over all outputs."""
    agreed, error = 0, 0.0
    for tensors, wanted in zip(results, expected, strict=True):
        values = [
            [dequantise(from_field_hex(text), scale) for text in tensor]
            for tensor, scale in zip(tensors, scales, strict=True)
        ]
        agreed += values[0].index(max(values[0])) == list(wanted[0]).index(max(wanted[0]))
        error = max(
            error,
            *(
                abs(mine - theirs)
                for tensor, other in zip(values, wanted, strict=True)
                for mine, theirs in zip(tensor, other, strict=True)
            ),
        )
    return Fidelity(len(results), agreed / len(results), error)


def good(fidelity: Fidelity, task: str, expected: Outputs) -> bool:
    """Whether this is close enough to fp32: by label, or by the outputs' range."""
    if task == "classification":
        return fidelity.agreement >= AGREEMENT
    values = [value for wanted in expected for tensor in wanted for value in tensor]
    return fidelity.error <= TOLERANCE * (max(values) - min(values))


def _field_inputs(
    spec: Described, samples: Samples, index: int, factor: float, bound: int, scales: Sequence[int]
) -> list[list[str]]:
    """One sample as field elements, with the largest possible challenge."""
    tensors = []
    for tensor, scale in zip(spec.inputs, scales, strict=False):
        values = samples[tensor.name][index]
        scaled = values if tensor.dtype == "INT64" else [value * factor for value in values]
        tensors.append(
            [to_field_hex(quantise(value, scale, bound=bound, field=tensor.name)) for value in scaled]
        )
    return [*tensors, [to_field_hex(0xFFFF)] * CHALLENGE_LIMBS]
