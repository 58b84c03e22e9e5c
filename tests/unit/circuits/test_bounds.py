"""Work that would take a machine for hours, or say something else than happened, is refused before it starts."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from verinfer.circuits import calibrate, ranges, srs, stages, tune
from verinfer.circuits.calibrate import Reference
from verinfer.circuits.compile import compile_model
from verinfer.circuits.locate import explain
from verinfer.circuits.native import Workplace
from verinfer.circuits.package import Package
from verinfer.circuits.reproduce import reproduce
from verinfer.circuits.systems import ezkl
from verinfer.circuits.targets import parse_targets
from verinfer.verifier.cache import cache_folder
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import CouldNotCheck, UsageError, VerinferError


def _quiet(_phase: str, _share: float) -> None:
    """Progress that nobody sees."""


def test_a_circuit_beyond_this_machine_is_not_compiled(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before setup would die of it, and the error says how to find out why."""
    monkeypatch.setattr(tune, "usable_memory", lambda: 1)
    with pytest.raises(CouldNotCheck, match="verinfer estimate") as caught:
        compile_model(quick, tmp_path / "out", srs=None, insecure_srs=True, on_progress=_quiet)
    assert caught.value.code == "model-too-large"


@pytest.mark.parametrize(
    ("limit", "least"), [("usable_memory", lambda: 1), ("_MOST_SETUP_SECONDS", 0.0)], ids=["bytes", "hours"]
)
def test_a_strangers_circuit_is_priced_before_it_is_built(
    limit: str, least: object, quick_package: Package, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An auditor's machine is not taken for hours by what a manifest says."""
    monkeypatch.setattr(ezkl, limit, least)
    monkeypatch.setattr(stages, "make_circuit", lambda *_arguments: pytest.fail("it was built"))
    with pytest.raises(CouldNotCheck) as caught:
        reproduce(quick_package, quick / "network.onnx", spec=None, on_progress=_quiet)
    assert caught.value.code == "model-too-large"


def test_an_auditors_target_of_the_other_task_is_refused(quick_package: Package, quick: Path) -> None:
    """Any circuit would meet it."""
    targets = parse_targets("accuracy>=0.999")
    with pytest.raises(UsageError) as caught:
        reproduce(quick_package, quick / "network.onnx", spec=None, on_progress=_quiet, targets=targets)
    assert caught.value.code == "target-malformed"


def test_a_large_srs_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits hours for what ends at a limit."""
    monkeypatch.setattr(Workplace, "ezkl", lambda *_arguments, **_named: pytest.fail("it was begun"))
    with pytest.raises(UsageError, match="srs fetch"):
        srs.make_insecure(srs.MOST_LOCAL_LOGROWS + 1)


def test_a_cache_whose_parent_others_may_change_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could put another folder into its place."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache_folder("srs").parent.chmod(0o777)
    with pytest.raises(CouldNotCheck, match="Others may write"):
        cache_folder("srs")


def test_a_lack_of_memory_is_not_blamed_on_a_node(
    quick: Path, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ended the try says nothing about the model, and the owner must not replace a node for it."""

    def starved(*_arguments: Any, **_named: Any) -> Any:
        raise ChildFailed("child-out-of-memory")

    monkeypatch.setattr(Workplace, "ezkl", starved)
    with pytest.raises(ChildFailed) as caught:
        explain(quick / "network.onnx", {}, place)
    assert caught.value.code == "child-out-of-memory"


def test_who_cancels_is_not_told_of_a_layer(quick_package: Package, place: Workplace) -> None:
    """A cancelled job ends as cancelled, also while the layer of an unusual input is looked for."""
    wanted = threading.Event()
    wanted.set()
    with pytest.raises(VerinferError) as caught:
        ranges.widest_layer(quick_package, {"habits": [1, 2, 3]}, replace(place, cancelled=wanted))
    assert caught.value.code == "child-cancelled"


def test_many_outputs_come_in_several_answers(
    quick_package: Package, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child's answer has its limit; in parts the same is found, sample by sample."""
    manifest = quick_package.manifest
    network, samples = quick_package.path("network.onnx"), quick_package.path("samples.npz")
    values = stages.read_samples(samples, manifest, place)
    reference = Reference(manifest, values, stages.run_fp32(network, manifest, values, place))
    settings = stages.Circuit(quick_package.path("verify/settings.json"), network).description
    wrapped, args = str(quick_package.path("wrapped.onnx")), manifest.ezkl.run_args.to_json()
    whole = calibrate.measure(wrapped, args, settings, reference, place)
    calls: list[str] = []
    ask = Workplace.ezkl

    def counted(self: Workplace, function: str, **arguments: Any) -> Any:
        calls.append(function)
        return ask(self, function, **arguments)

    monkeypatch.setattr(Workplace, "ezkl", counted)
    monkeypatch.setattr(calibrate, "_ANSWER_NUMBERS", 30)
    assert calibrate.measure(wrapped, args, settings, reference, place) == whole
    assert len(calls) > 1
