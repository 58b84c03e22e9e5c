"""The search of numbers gives good plans in order, the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from verinfer.circuits import lowering
from verinfer.circuits.calibrate import Reference
from verinfer.circuits.lowering import Trial, read_sites, search
from verinfer.circuits.native import Workplace
from verinfer.circuits.targets import Targets
from verinfer.verifier.model_spec import parse_spec

from .networks import NETWORKS


@pytest.fixture(autouse=True)
def _small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few numbers instead of all, to save time."""
    for name, numbers in {"SCALES": (5, 7), "ACTIVATION_BITS": (7, 10), "WEIGHT_BITS": (6, 8)}.items():
        monkeypatch.setattr(lowering, name, numbers)


ZOO = Path(__file__).parents[4] / "models" / "zoo"


def _search(place: Workplace, targets: Targets) -> list[Trial]:
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
    return search(path, inputs, sites, reference, targets, place, lambda _share: None)


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
