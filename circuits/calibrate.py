"""How well a circuit computes: EZKL's own forward pass on real samples against the fp32 model, with a margin for range."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from verinfer.verifier import files
from verinfer.verifier.digest import CHALLENGE_LIMBS, SALT_LIMBS
from verinfer.verifier.errors import VerinferError
from verinfer.verifier.instances import from_field_hex, to_field_hex
from verinfer.verifier.manifest import Manifest, Visibility
from verinfer.verifier.model_spec import ModelSpec
from verinfer.verifier.numbers import dequantise, quantise

from .native import Workplace
from .targets import Targets

MARGIN = 1.25
"""Samples scaled by this must still be inside the circuit's range."""

_ANSWER_NUMBERS = 500_000
"""Outputs in one answer of a child, which has its limit."""

_SCREEN = 16
_ROW_BUDGET = 36_000_000
"""Rows of forward passes spent on one candidate, about half a minute: every sample of a small circuit, 100 of LeNet-5."""


Described = ModelSpec | Manifest
"""What says a model's tensors and task: its spec, or a manifest that copies it."""

Outputs = Sequence[Sequence[Sequence[float]]]
"""fp32 outputs: by forward pass, by tensor, flat."""

Samples = dict[str, list[list[float] | list[int]]]
"""Preprocessed samples: by input name, a list of flat tensors."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How a circuit compares with the fp32 model on samples; `error` is absolute, in the outputs' own units.

    `outputs`: the circuit's own, by forward pass and tensor, from which the rest follows.
    """

    samples: int
    agreement: float
    error: float
    outputs: Outputs = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reference:
    """What circuits are compared with: a model's tensors and task, preprocessed samples, and fp32's outputs.

    There may be fewer outputs than samples; then the first ones count.
    With a `batch`, each of the samples and outputs is so many in one, row by row.
    """

    spec: Described
    samples: Samples
    outputs: Outputs
    batch: int = 1


def screened(
    wrapped: str,
    run_args: dict[str, Any],
    settings: dict[str, Any],
    reference: Reference,
    targets: Targets,
    place: Workplace,
) -> Fidelity | None:
    """As `measure`, but run args that fail badly on a few samples get no more of them."""
    few = replace(reference, outputs=reference.outputs[: ceil(_SCREEN / reference.batch)])
    first = measure(wrapped, run_args, settings, few, place)
    # One flip among few may still be rare among many; an error only grows.
    lenient = replace(targets, agreement=min(targets.agreement, 1 - 2 / _SCREEN))
    if first is None or not good(first, reference, lenient):
        return first
    return measure(wrapped, run_args, settings, reference, place)


def measure(
    wrapped: str,
    run_args: dict[str, Any],
    settings: dict[str, Any],
    reference: Reference,
    place: Workplace,
) -> Fidelity | None:
    """Compare a circuit's forward pass with fp32 on samples; None if a sample, or one with margin, is out of range.

    `settings` are EZKL's for exactly these run args: rows and scales are read from them.
    """
    expected = reference.outputs
    count = min(len(expected), max(_ROW_BUDGET // settings["num_rows"], ceil(_SCREEN / reference.batch)))
    scales, bound = settings["model_input_scales"], run_args["decomp_base"] ** run_args["decomp_legs"]
    visibility = run_args["input_visibility"]
    salt = SALT_LIMBS if visibility == "hashed" else 0
    try:
        inputs = [_field_inputs(reference, index, 1.0, bound, scales, salt) for index in range(count)]
        # A sparser sweep for the margin: range is decided by the extremes, and these rise and fall together.
        inputs += [
            _field_inputs(reference, index, MARGIN, bound, scales, salt) for index in range(0, count, 4)
        ]
    except VerinferError:
        return None
    results: list[list[list[str]]] = []
    size = max(_ANSWER_NUMBERS // sum(len(tensor) for tensor in expected[0]), 1)
    for start in range(0, len(inputs), size):
        path = place.directory / "trial.inputs.json"
        files.write_scratch(path, json.dumps(inputs[start : start + size]).encode())
        answers = place.ezkl(
            "forward_many", model=wrapped, run_args=run_args, inputs=path, directory=place.directory
        )
        if answers is None:
            return None
        results += answers if visibility == "public" else [tensors[1:] for tensors in answers]
    return compare(results[:count], expected[:count], output_scales(settings, visibility), reference.batch)


def compare(
    results: Sequence[Sequence[Sequence[str]]], expected: Outputs, scales: Sequence[int], batch: int = 1
) -> Fidelity:
    """Agreement of the first output's argmax, and the largest absolute error over all outputs."""
    values = [
        [
            [dequantise(from_field_hex(text), scale) for text in tensor]
            for tensor, scale in zip(tensors, scales, strict=True)
        ]
        for tensors in results
    ]
    return agree(values, expected, batch)


def agree(values: Outputs, expected: Outputs, batch: int = 1) -> Fidelity:
    """Agreement of the first output's argmax, in each of its `batch` rows, and the largest absolute error over all outputs."""
    agreed, error = 0, 0.0
    for mine, wanted in zip(values, expected, strict=True):
        pairs = zip(rows(mine[0], batch), rows(wanted[0], batch), strict=True)
        agreed += sum(one.index(max(one)) == other.index(max(other)) for one, other in pairs)
        error = max(
            error,
            *(
                abs(value - other)
                for tensor, others in zip(mine, wanted, strict=True)
                for value, other in zip(tensor, others, strict=True)
            ),
        )
    count = len(values) * batch
    return Fidelity(count, agreed / count, error, values)


def by_sample(outputs: Outputs, batch: int) -> Outputs:
    """The outputs of each sample, from those of each forward pass."""
    return [[rows(tensor, batch)[row] for tensor in tensors] for tensors in outputs for row in range(batch)]


def rows(values: Sequence[float], batch: int) -> list[list[float]]:
    """The parts of a flat tensor that belong to each sample."""
    size = len(values) // batch
    return [list(values[start : start + size]) for start in range(0, len(values), size)]


def good(fidelity: Fidelity, reference: Reference, targets: Targets) -> bool:
    """Whether this is close enough to fp32 on the samples that were measured: labels by agreement, all else by error.

    A label is the place of the largest of several numbers, of the first output of a classification. Every other output may be
    off by a share of its own range.
    """
    expected = reference.outputs[: len(fidelity.outputs)]
    has_label = reference.spec.task == "classification" and len(expected[0][0]) > reference.batch
    if has_label and fidelity.agreement < targets.agreement:
        return False
    return all(
        _error(fidelity, expected, index) <= targets.error * _spread(expected, index)
        for index in range(int(has_label), len(expected[0]))
    )


def _error(fidelity: Fidelity, expected: Outputs, index: int) -> float:
    pairs = zip(fidelity.outputs, expected, strict=True)
    return max(
        abs(value - other)
        for mine, wanted in pairs
        for value, other in zip(mine[index], wanted[index], strict=True)
    )


def _spread(expected: Outputs, index: int) -> float:
    """The range of an output; of one that is always the same, its magnitude."""
    values = [value for sample in expected for value in sample[index]]
    return (max(values) - min(values)) or max(map(abs, values))


def output_scales(settings: Mapping[str, Any], inputs: Visibility) -> list[int]:
    """The scales of the model's outputs; where inputs are hidden the challenge is an output before them."""
    scales: list[int] = settings["model_output_scales"]
    return scales if inputs == "public" else scales[1:]


def _field_inputs(
    reference: Reference, index: int, factor: float, bound: int, scales: Sequence[int], salt: int
) -> list[list[str]]:
    """One sample as field elements, each tensor with so many limbs of `salt`, and the challenge, all as large as can be."""
    tensors = []
    for tensor, scale in zip(reference.spec.inputs, scales, strict=False):
        values = reference.samples[tensor.name][index]
        scaled = values if tensor.dtype == "INT64" else [value * factor for value in values]
        integers = [quantise(value, scale, bound=bound, field=tensor.name) for value in scaled]
        tensors.append([to_field_hex(value) for value in (*integers, *[0xFFFF] * salt)])
    return [*tensors, [to_field_hex(0xFFFF)] * CHALLENGE_LIMBS]
