"""From a raw sample to a model's input, and from a model's output to readable numbers.

The steps are the model's own (`model_spec`), pinned through the manifest: a client sends a raw sample and reads a label.
Arithmetic is binary64, element by element; an FP32 input is then rounded to binary32, which is what the datatype says.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod

from . import numbers
from .errors import UsageError
from .model_spec import InputSpec, OutputSpec
from .wire import printable


def check_names(specs: Sequence[InputSpec], sample: Collection[str]) -> None:
    """Raise `UsageError` (``input-missing``, ``input-unknown``) unless the sample has exactly the model's inputs."""
    names = [spec.name for spec in specs]
    for name in names:
        if name not in sample:
            raise UsageError("input-missing", f"The sample has no {name}.", field=name)
    for name in sample:
        if name not in names:
            shown = printable(name, most=64)
            raise UsageError("input-unknown", f"The model has no input {shown}.", field=shown)


def to_input(spec: InputSpec, raw: Sequence[float | int], samples: int = 1) -> list[float] | list[int]:
    """The input tensor's values, flat, for so many raw samples, one after the other, in the model's raw units.

    Raises `UsageError` (``shape-mismatch``, ``value-not-finite``, ``value-not-integer``, ``value-out-of-range``).
    """
    size = prod(spec.shape)
    count = size * samples
    if len(raw) != count:
        whole = len(raw) % size == 0
        given = f"{len(raw) // size} samples" if whole and len(raw) else f"{len(raw)} numbers"
        takes = (
            f"{samples} samples at once, of {size} numbers each"
            if samples > 1
            else f"one sample of {size} numbers"
        )
        raise UsageError(
            "shape-mismatch", f"{spec.name}: this circuit takes {takes}; given are {given}.", field=spec.name
        )
    values: Sequence[float | int] = raw
    for step in spec.preprocessing:
        values = [numbers.finite(value, field=spec.name) for value in values]
        subtract, divide = _spread(step.subtract, count), _spread(step.divide, count)
        values = [(value - a) / b for value, a, b in zip(values, subtract, divide, strict=True)]
    return numbers.as_dtype(values, spec.dtype, field=spec.name)


def to_output(spec: OutputSpec, values: Sequence[float | int]) -> tuple[float, ...]:
    """The output's values in the units that people read."""
    result = [float(value) for value in values]
    for step in spec.postprocessing:
        multiply, add = _spread(step.multiply, len(result)), _spread(step.add, len(result))
        result = [value * a + b for value, a, b in zip(result, multiply, add, strict=True)]
    return tuple(result)


def to_labels(labels: Sequence[str], scores: Sequence[float]) -> tuple[tuple[str, ...], bool]:
    """The label of each sample, whose scores follow each other, and whether two share the highest score of one."""
    size = len(labels)
    rows = [list(scores[start : start + size]) for start in range(0, len(scores), size)]
    return tuple(labels[row.index(max(row))] for row in rows), any(row.count(max(row)) > 1 for row in rows)


def _spread(texts: Sequence[str], count: int) -> list[float]:
    """One number for each of `count` elements; `texts` has one for all, or one for each element of a sample."""
    numbers_ = [float(text) for text in texts]
    return numbers_ * (count // len(numbers_))
