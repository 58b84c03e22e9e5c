"""What counts as close enough to the fp32 model: nothing of an answer escapes, and no sample that was not measured counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from verinfer.circuits.calibrate import Outputs, Reference, agree, good
from verinfer.circuits.package import Package
from verinfer.circuits.targets import Targets


def _good(package: Package, task: Any, mine: Outputs, expected: Outputs, **targets: Any) -> bool:
    spec = package.manifest.model_copy(update={"task": task})
    fidelity = agree(mine, expected[: len(mine)])
    return good(fidelity, Reference(spec, {}, expected), Targets(**targets))


LABELS: Outputs = [[[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]]]


def test_labels_decide_a_classification(quick_package: Package) -> None:
    """However large the numbers, as long as enough labels are the model's."""
    flipped = [[[5.0, 9.0]], [[9.0, 5.0]], [[0.0, 7.0]], [[0.0, 7.0]]]
    assert _good(quick_package, "classification", flipped, LABELS, agreement=0.75)
    assert not _good(quick_package, "classification", flipped, LABELS, agreement=0.76)


def test_a_label_of_one_number_is_none(quick_package: Package) -> None:
    """The largest of one number is always the same, so the number itself must be right."""
    expected = [[[0.0]], [[1.0]]]
    assert not _good(quick_package, "classification", [[[1.0]], [[0.0]]], expected)
    assert _good(quick_package, "classification", [[[0.01]], [[1.0]]], expected)


def test_every_further_output_counts(quick_package: Package) -> None:
    """Beside right labels another output may not be garbage; and a small output is not judged by a large one's range."""
    expected = [[[0.0, 1.0], [0.1]], [[1.0, 0.0], [0.2]]]
    garbage = [[[0.0, 1.0], [7.0]], [[1.0, 0.0], [0.2]]]
    assert _good(quick_package, "classification", expected, expected)
    assert not _good(quick_package, "classification", garbage, expected)
    beside = [[[1e6], [0.1]], [[-1e6], [0.2]]]
    off = [[[1e6], [0.9]], [[-1e6], [0.2]]]
    assert not _good(quick_package, "regression", off, beside)


def test_only_measured_samples_set_the_measure(quick_package: Package) -> None:
    """An outlier among samples that were not run does not excuse an error among those that were."""
    expected = [[[0.0]], [[1.0]], [[1e9]]]
    assert not _good(quick_package, "regression", [[[0.0]], [[5.0]]], expected)


def test_an_output_that_never_changes_has_its_magnitude(quick_package: Package) -> None:
    """A constant is close by a share of itself; exactly zero must be exactly zero."""
    assert _good(quick_package, "regression", [[[100.5]]], [[[100.0]]])
    assert not _good(quick_package, "regression", [[[103.0]]], [[[100.0]]])
    assert not _good(quick_package, "regression", [[[0.1]]], [[[0.0]]])


@pytest.mark.parametrize("error", [0.0, 0.02])
def test_the_same_numbers_are_always_good(quick_package: Package, error: float) -> None:
    """Whatever is asked for."""
    assert _good(quick_package, "regression", LABELS, LABELS, error=error)
    reference = Reference(quick_package.manifest, {}, LABELS)
    assert good(replace(agree(LABELS, LABELS)), reference, Targets(error=error))
