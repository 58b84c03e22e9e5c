"""Chooses run args: the cheapest that agree with the fp32 model on real samples, with a margin.

Takes a wrapped ONNX file and samples; gives one `Choice`. A first, small search; every step is deterministic.

EZKL folds a circuit with more rows than 2^k into more blocks of columns, so k is free, and cost is columns times 2^k.
Its count of rows varies a little from process to process; only the number of blocks follows from it, so a candidate whose
count is close to one more block is left out: a rebuild might have it.
Measured here (2 cores, ezkl 23.0.5, 30 circuits of 1,000 to 5,000 rows, k = 9 to 13), proving took, within 25 %,
``0.1 s + 2^k · (17 µs · advice columns + 45 µs)``. A table that does not fit 2^k costs a multiple, so none is tried.
A higher rebase multiplier saves rows and needs more range; with 3, LeNet-5 has a tenth fewer rows than with 2.
Against EZKL's stock settings that is 9 times less for the MLP 3-32-32-2.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from verinfer.verifier.digest import CHALLENGE_LIMBS
from verinfer.verifier.errors import CouldNotCheck, VerinferError
from verinfer.verifier.instances import from_field_hex, to_field_hex
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.model_spec import ModelSpec
from verinfer.verifier.numbers import dequantise, quantise
from verinfer.verifier.settings import canonical_settings

from .native import Workplace

AGREEMENT = 0.995
"""Least share of samples whose label equals the fp32 model's."""

TOLERANCE = 0.02
"""Largest error of a regression, as a share of the fp32 outputs' range over the samples."""

MARGIN = 1.25
"""Samples scaled by this must still be inside the circuit's range."""

LARGE_ROWS = 50_000
_LOOKUP_RANGE = [-32768, 32768]
_BLINDING_ROWS = 16
_UNSTEADY_ROWS = 8
"""How far the count of rows of one block may be off between two runs; 3 was the most seen in 200."""

_SCREEN = 16
_ROW_BUDGET = 36_000_000
"""Rows of forward passes spent on one candidate, about half a minute: every sample of a small circuit, 100 of LeNet-5."""

Described = ModelSpec | Manifest
"""What says a model's tensors and task: its spec, or a manifest that copies it."""

Outputs = Sequence[Sequence[Sequence[float]]]
"""fp32 outputs: by sample, by tensor, flat."""

Samples = dict[str, list[list[float] | list[int]]]
"""Preprocessed samples: by input name, a list of flat tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Run args that may be chosen."""

    scale: int
    rebase: int
    base: int
    legs: int
    columns: int = 1
    logrows: int = 17

    def run_args(self) -> dict[str, Any]:
        """The run args as EZKL takes them; parameters are fixed, so weights are in the vk."""
        return {
            "input_scale": self.scale,
            "param_scale": self.scale,
            "scale_rebase_multiplier": self.rebase,
            "lookup_range": _LOOKUP_RANGE,
            "logrows": self.logrows,
            "num_inner_cols": self.columns,
            "decomp_base": self.base,
            "decomp_legs": self.legs,
            "disable_freivalds": False,
            "input_visibility": "public",
            "output_visibility": "public",
            "param_visibility": "fixed",
        }

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """What decides the values that the circuit computes."""
        return self.scale, self.rebase, self.base, self.legs


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


@dataclass(frozen=True, slots=True)
class _Price:
    advice: int
    seconds: float
    rows: int
    candidate: Candidate


def count_blocks(assignments: int, columns: int, logrows: int) -> int:
    """How many blocks of columns EZKL makes for so many cells; found by trying: a block ends 6 rows before 2^k."""
    return assignments // (columns * ((1 << logrows) - 6) - 1) + 1


def estimate_seconds(assignments: int, columns: int, logrows: int) -> float:
    """Proving time on 2 cores by the formula above."""
    advice = 3 * columns * count_blocks(assignments, columns, logrows)
    return 0.1 + (1 << logrows) * (17e-6 * advice + 45e-6)


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
    priced = _price(wrapped, place)
    # Agreement depends on the numbers alone; columns and k only arrange the same computation.
    refused: set[tuple[int, int, int, int]] = set()
    best: Fidelity | None = None
    for index, price in enumerate(priced):
        on_progress(index / len(priced))
        if price.candidate.numbers in refused or not _steady(wrapped, price.candidate, place):
            continue
        fidelity = _screened(wrapped, price.candidate, spec, samples, expected, place)
        if fidelity is not None and good(fidelity, spec.task, expected):
            return Choice(price.candidate, price.rows, price.seconds, fidelity, len(refused) + 1)
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
    wrapped: str, candidate: Candidate, spec: Described, samples: Samples, expected: Outputs, place: Workplace
) -> Fidelity | None:
    """As `measure`, but a candidate that already fails on a few samples gets no more of them."""
    first = measure(wrapped, candidate, spec, samples, expected[:_SCREEN], place)
    if first is None or not good(first, spec.task, expected):
        return first
    return measure(wrapped, candidate, spec, samples, expected, place)


def measure(
    wrapped: str,
    candidate: Candidate,
    spec: Described,
    samples: Samples,
    expected: Outputs,
    place: Workplace,
) -> Fidelity | None:
    """Compare the candidate's forward pass with fp32 on samples; None if a sample, or one with margin, is out of range."""
    settings = place.ezkl(
        "count_rows", model=wrapped, directory=place.directory, candidates=[candidate.run_args()]
    )[0]
    if settings is None:
        return None
    count = min(len(expected), max(_ROW_BUDGET // settings["num_rows"], _SCREEN))
    scales = settings["model_input_scales"]
    try:
        inputs = [_field_inputs(spec, samples, index, 1.0, candidate, scales) for index in range(count)]
        # A sparser sweep for the margin: range is decided by the extremes, and these rise and fall together.
        inputs += [
            _field_inputs(spec, samples, index, MARGIN, candidate, scales) for index in range(0, count, 4)
        ]
    except VerinferError:
        return None
    path = place.directory / "trial.inputs.json"
    path.write_text(json.dumps(inputs))
    results = place.ezkl(
        "forward_many", model=wrapped, run_args=candidate.run_args(), inputs=path, directory=place.directory
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


def _price(wrapped: str, place: Workplace) -> list[_Price]:
    """Every candidate with its rows and estimated cost, cheapest first."""
    probe = Candidate(scale=7, rebase=2, base=16384, legs=2)
    found = place.ezkl("count_rows", model=wrapped, directory=place.directory, candidates=[probe.run_args()])[
        0
    ]
    if found is None:
        raise CouldNotCheck("no-circuit", "EZKL cannot import this model.")
    numeric = _numeric(large=found["num_rows"] > LARGE_ROWS)
    wide = [
        Candidate(scale=scale, rebase=rebase, base=base, legs=legs, columns=columns)
        for (scale, rebase, base, legs), columns in product(numeric, (1, 2))
    ]
    settings = place.ezkl(
        "count_rows", model=wrapped, directory=place.directory, candidates=[item.run_args() for item in wide]
    )
    prices = [
        _price_of(_at(item, logrows), found)
        for item, found in zip(wide, settings, strict=True)
        if found is not None
        for logrows in _logrows(found)
    ]
    return sorted(prices, key=_order)


def _price_of(candidate: Candidate, settings: dict[str, Any]) -> _Price:
    settings = {**settings, "run_args": {**settings["run_args"], "logrows": candidate.logrows}}
    cells = _canonical(settings)["total_assignments"]
    blocks = count_blocks(cells, candidate.columns, candidate.logrows)
    seconds = estimate_seconds(cells, candidate.columns, candidate.logrows)
    return _Price(3 * candidate.columns * blocks, seconds, settings["num_rows"], candidate)


def _order(price: _Price) -> tuple[int, int, int, str]:
    """Cheapest first; within a tenth, fewer columns make shorter proofs that verify faster, then the finer scale."""
    tenths = math.floor(math.log(price.seconds) / math.log(1.1))
    return tenths, price.advice, -price.candidate.scale, json.dumps(asdict(price.candidate))


def _numeric(*, large: bool) -> list[tuple[int, int, int, int]]:
    """(scale, rebase multiplier, base, legs); every base^legs holds a challenge's limb. Large circuits get a short list."""
    if large:
        return [(6, 3, 16384, 2), (6, 2, 4096, 2), (7, 2, 256, 3), (7, 2, 16384, 2), (8, 2, 16384, 2)]
    pairs = ((256, 2), (512, 2), (1024, 2), (2048, 2), (128, 3), (256, 3), (64, 4))
    return [
        (scale, rebase, base, legs)
        for scale, rebase, (base, legs) in product((6, 7, 8, 10), (1, 2, 3), pairs)
    ]


def _logrows(settings: dict[str, Any]) -> list[int]:
    """Sizes worth trying: tables and instances must fit; beyond one block of rows there is nothing to win."""
    ranges = [*settings["required_range_checks"], *([_LOOKUP_RANGE] if settings["required_lookups"] else [])]
    instances = sum(math.prod(shape) for shape in settings["model_instance_shapes"])
    floor = max(instances, *(high - low + 1 for low, high in ranges)) + _BLINDING_ROWS
    least = max(math.ceil(math.log2(floor)), 8)
    most = max(math.ceil(math.log2(settings["num_rows"] + _BLINDING_ROWS)), least)
    # Folding too deep makes verification slower and proofs longer: at most 8 blocks.
    return list(range(max(least, most - 3), most + 1))


def _canonical(settings: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(canonical_settings(json.dumps(settings).encode()))
    return value


def _steady(wrapped: str, candidate: Candidate, place: Workplace) -> bool:
    """Whether a rebuild gets the same settings although its count of rows differs a little."""
    settings = place.ezkl(
        "count_rows", model=wrapped, directory=place.directory, candidates=[candidate.run_args()]
    )[0]
    if settings is None:
        return False
    rows, cells, columns = settings["num_rows"], settings["total_assignments"], candidate.columns
    slack = _UNSTEADY_ROWS * count_blocks(cells, columns, candidate.logrows)
    shifted = [
        {**settings, "num_rows": rows + shift, "total_assignments": cells + shift * columns}
        for shift in (-slack, slack)
    ]
    less, more = (_canonical(item) for item in shifted)
    return less == more


def _at(candidate: Candidate, logrows: int) -> Candidate:
    return Candidate(**{**asdict(candidate), "logrows": logrows})


def good(fidelity: Fidelity, task: str, expected: Outputs) -> bool:
    """Whether this is close enough to fp32: by label, or by the outputs' range."""
    if task == "classification":
        return fidelity.agreement >= AGREEMENT
    values = [value for wanted in expected for tensor in wanted for value in tensor]
    return fidelity.error <= TOLERANCE * (max(values) - min(values))


def _field_inputs(
    spec: Described, samples: Samples, index: int, factor: float, candidate: Candidate, scales: Sequence[int]
) -> list[list[str]]:
    """One sample as field elements, with the largest possible challenge."""
    bound = candidate.base**candidate.legs
    tensors = []
    for tensor, scale in zip(spec.inputs, scales, strict=False):
        values = samples[tensor.name][index]
        scaled = values if tensor.dtype == "INT64" else [value * factor for value in values]
        tensors.append(
            [to_field_hex(quantise(value, scale, bound=bound, field=tensor.name)) for value in scaled]
        )
    return [*tensors, [to_field_hex(0xFFFF)] * CHALLENGE_LIMBS]
