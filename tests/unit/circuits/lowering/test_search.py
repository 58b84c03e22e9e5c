"""The search of numbers gives good plans in order, the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from verinfer.circuits import lowering
from verinfer.circuits.calibrate import Reference
from verinfer.circuits.lowering import Trial, foresee, read_sites, search
from verinfer.circuits.native import Workplace
from verinfer.circuits.plan import Sites
from verinfer.circuits.targets import Targets
from verinfer.verifier.model_spec import parse_spec

from .networks import NETWORKS


@pytest.fixture(autouse=True)
def _small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few numbers instead of all, to save time."""
    for name, numbers in {"SCALES": (5, 7), "ACTIVATION_BITS": (7, 10), "WEIGHT_BITS": (6, 8)}.items():
        monkeypatch.setattr(lowering, name, numbers)
    monkeypatch.setattr(lowering, "_FEW_STEPS", 4)


ZOO = Path(__file__).parents[4] / "models" / "zoo"


def _prepare(place: Workplace) -> tuple[Path, Path, Sites, Reference]:
    """A network, its samples, its sites, and what fp32 makes of the samples."""
    path, inputs = place.directory / "network.onnx", place.directory / "samples.npz"
    path.write_bytes(NETWORKS["relu"].SerializeToString())
    samples = np.random.default_rng(5).uniform(-1, 1, (40, 1, 4)).astype(np.float32)
    np.savez(inputs, x=samples)
    session = onnxruntime.InferenceSession(path.read_bytes())
    expected = [[session.run(None, {"x": sample})[0].ravel().tolist()] for sample in samples]
    sites = read_sites(path, place)
    assert sites is not None
    spec = parse_spec((ZOO / "bmi" / "spec.json").read_bytes())
    reference = Reference(spec, {"x": [sample.ravel().tolist() for sample in samples]}, expected)
    return path, inputs, sites, reference


def _search(place: Workplace, targets: Targets) -> list[Trial]:
    return search(*_prepare(place), targets, place, lambda _share: None)


def test_plans_come_cheapest_first_and_meet_the_target(place: Workplace) -> None:
    """Each is within the error that was asked for, on all samples, and a second search gives the same list."""
    trials = _search(place, Targets(error=0.05))
    assert trials
    assert [trial.cost for trial in trials] == sorted(trial.cost for trial in trials)
    assert max(trial.fidelity.error for trial in trials) < 0.05 * 8
    assert trials == _search(place, Targets(error=0.05))


def test_no_plan_has_outputs_of_a_negative_scale(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout cannot say such a scale, so a plan with it is not offered, however well it does."""
    monkeypatch.setattr(lowering, "ACTIVATION_BITS", (-12,))
    monkeypatch.setattr(lowering, "SCALES", (-12,))
    assert _search(place, Targets(error=1e9)) == []


def test_a_target_that_no_plan_meets_gives_none(place: Workplace) -> None:
    """Numbers of a few bits cannot be exact, and none is offered as if they were."""
    assert _search(place, Targets(error=1e-9)) == []


def test_more_is_foreseen_for_a_closer_target(place: Workplace) -> None:
    """Samples decide: a hundredth of the error takes more, and what no numbers reach is not foreseen."""
    trials = [foresee(*_prepare(place), Targets(error=error), place) for error in (0.1, 0.01, 1e-9)]
    assert trials[2] is None
    assert trials[0] is not None
    assert trials[1] is not None
    assert trials[0].cost < trials[1].cost


def test_nothing_with_tables_beyond_all_bounds_is_foreseen(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit below the first good plan tables may reach anywhere; then the good one is what is foreseen."""
    prepared, targets = _prepare(place), Targets(error=0.05)
    below = foresee(*prepared, targets, place)
    assert below is not None
    real = lowering._Runner.prices  # noqa: SLF001 - what is far out of range is hard to provoke in a small network

    def far(*arguments: Any) -> list[Trial]:
        return [replace(trial, high=2 * lowering.LARGEST_TABLE) for trial in real(*arguments)]

    monkeypatch.setattr(lowering._Runner, "prices", far)  # noqa: SLF001 - as above
    good_one = foresee(*prepared, targets, place)
    assert good_one is not None
    assert good_one.table <= lowering.LARGEST_TABLE
    assert good_one.cost > below.cost
