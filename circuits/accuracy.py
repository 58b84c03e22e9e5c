"""How well a circuit and its fp32 model do on the samples: against the truth, and class by class against each other.

Takes the outputs of EZKL's forward pass, onnxruntime's and the samples' ``expected``; gives an `Accuracy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from verinfer.verifier.errors import Malformed

from .calibrate import Outputs, by_sample
from .native import Workplace
from .stages import MOST_SAMPLES


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """Samples to which fp32 gives this label, and how many of them get it from the circuit too."""

    label: str
    samples: int
    agreed: int


@dataclass(frozen=True, slots=True)
class Accuracy:
    """On the same `samples`: shares of true labels (None without any), errors against fp32 in the outputs' own units."""

    samples: int
    fp32: float | None
    circuit: float | None
    agreement: float | None
    mean_error: float
    largest_error: float
    classes: tuple[ClassAgreement, ...]

    def to_json(self) -> dict[str, Any]:
        """As the card has it."""
        return asdict(self)


def compare(
    circuit: Outputs,
    fp32: Outputs,
    truth: Sequence[int] | None,
    labels: Sequence[str] | None,
    task: str,
    batch: int = 1,
) -> Accuracy:
    """The figures for outputs by forward pass and tensor, `batch` samples to a pass; `truth` may be longer."""
    circuit, fp32 = by_sample(circuit, batch), by_sample(fp32, batch)
    errors = [
        abs(value - other)
        for mine, wanted in zip(circuit, fp32, strict=True)
        for tensor, others in zip(mine, wanted, strict=True)
        for value, other in zip(tensor, others, strict=True)
    ]
    count = len(circuit)
    mean, largest = sum(errors) / len(errors), max(errors)
    if task != "classification":
        return Accuracy(count, None, None, None, mean, largest, ())
    ours, theirs = _labels(circuit), _labels(fp32)
    names = labels or [str(index) for index in range(len(fp32[0][0]))]
    classes = tuple(
        ClassAgreement(
            name,
            theirs.count(index),
            sum(mine == index == other for mine, other in zip(ours, theirs, strict=True)),
        )
        for index, name in enumerate(names)
        if index in theirs
    )
    return Accuracy(
        count,
        _share(theirs, truth),
        _share(ours, truth),
        _share(ours, theirs),
        mean,
        largest,
        classes,
    )


def read_truth(path: Path, place: Workplace) -> list[int] | None:
    """The true labels of a samples file, one integer each; None if it holds none."""
    try:
        found = place.onnx("read_samples", path=path, names=["expected"], most=MOST_SAMPLES)["expected"]
    except Malformed:
        return None
    if any(len(item) != 1 or item[0] != int(item[0]) for item in found):
        return None
    return [int(item[0]) for item in found]


def _labels(outputs: Outputs) -> list[int]:
    return [list(tensors[0]).index(max(tensors[0])) for tensors in outputs]


def _share(found: Sequence[int], truth: Sequence[int] | None) -> float | None:
    if truth is None or len(truth) < len(found):
        return None
    return sum(one == other for one, other in zip(found, truth, strict=False)) / len(found)
