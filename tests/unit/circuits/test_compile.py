"""A package is whole, repeatable, and proves what it should."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits import stages, tune
from verinfer.circuits.compile import compile_model
from verinfer.circuits.cost import Cost
from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.package import Package
from verinfer.circuits.plan import PARAM_SCALE
from verinfer.circuits.provers import prover_for
from verinfer.circuits.reproduce import reproduce
from verinfer.circuits.srs import open_srs
from verinfer.circuits.systems import ezkl as systems
from verinfer.verifier import files
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected, UsageError
from verinfer.verifier.jail import GIB, Limits

Change = Callable[[dict[str, Any]], None]

ZOO = Path(__file__).parents[3] / "models" / "zoo"


def _quiet(_phase: str, _share: float) -> None:
    """Progress that nobody sees."""


def _place(directory: Path) -> Workplace:
    return Workplace(directory=directory, limits=heavy_limits())


def test_the_package_describes_the_model(bmi_package: Package) -> None:
    """The manifest has the model's names, shapes and fields, and the card is there."""
    manifest = bmi_package.manifest
    assert [(tensor.name, tensor.role) for tensor in manifest.layout] == [
        ("habits", "input"),
        ("verinfer_challenge", "challenge"),
        ("body", "output"),
    ]
    assert manifest.outputs[0].fields == ("height_cm", "weight_kg")
    assert bmi_package.bundle.provenance == "insecure-local"
    assert "INSECURE SRS" in bmi_package.path("card.md").read_text()


def test_the_same_model_gives_the_same_keys(bmi_package: Package, tmp_path: Path) -> None:
    """Six rebuilds, each in processes of its own, give the manifest's settings and vk, as those of all other tests do."""
    system = bmi_package.manifest.ezkl
    srs = open_srs(bmi_package.path("kzg.srs"))

    def rebuild(index: int) -> tuple[str, str]:
        home = tmp_path / str(index)
        home.mkdir()
        place = _place(home)
        circuit = stages.make_circuit(
            bmi_package.path("wrapped.onnx"), system.run_args.to_json(), home, place
        )
        vk, _ = stages.make_keys(circuit, srs, home, place, uncompressed=False)
        return files.digest_of(circuit.settings), files.digest_of(vk)

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(rebuild, range(6))) == {(system.settings, system.vk)}


def test_a_rebuild_confirms_the_package(bmi_package: Package) -> None:
    """`reproduce` gives the circuit's digest, and measures the rebuilt circuit on the samples."""
    result = reproduce(bmi_package, ZOO / "bmi" / "network.onnx", spec=None, on_progress=_quiet)
    assert result.circuit == bmi_package.digest
    assert result.fidelity.samples == 32
    # Without a published spec nothing was said about names and units.
    assert not result.meaning_compared


def test_a_column_for_each_selector_is_part_of_the_identity(
    quick: Path, quick_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a circuit has another manifest and a shorter vk, proves and verifies, and is reproduced as the manifest says."""
    monkeypatch.setattr(systems, "prefers_uncompressed", lambda _settings, *, evm: not evm)
    apart = compile_model(quick, tmp_path / "apart", srs=None, insecure_srs=True, on_progress=_quiet)
    assert quick_package.manifest.ezkl.selectors is None
    assert apart.manifest.ezkl.selectors == "uncompressed"
    assert len(apart.bundle.files["vk.key"]) < len(quick_package.bundle.files["vk.key"])
    monkeypatch.undo()
    priced: list[Cost] = []

    def fits(cost: Cost, _memory: int) -> bool:
        priced.append(cost)
        return True

    monkeypatch.setattr(systems, "fits", fits)
    network = quick / "network.onnx"
    assert reproduce(apart, network, spec=None, on_progress=_quiet).circuit == apart.digest
    # What was priced before it was built is this circuit, not the one that a search would have made.
    assert [cost.vk_bytes for cost in priced] == [len(apart.bundle.files["vk.key"])]


def test_compiling_again_gives_the_same_identity(quick: Path, quick_package: Package, tmp_path: Path) -> None:
    """The search is deterministic too, so the whole manifest comes out equal."""
    again = compile_model(quick, tmp_path / "again", srs=None, insecure_srs=True, on_progress=_quiet)
    assert again.digest == quick_package.digest


def test_another_onnx_file_is_not_reproduced(bmi_package: Package) -> None:
    """A rebuild from another model is refused."""
    with pytest.raises(Rejected) as caught:
        reproduce(bmi_package, ZOO / "digits" / "network.onnx", spec=None, on_progress=_quiet)
    assert caught.value.code == "not-reproduced"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda spec: spec.update(version="99"), "model"),
        (lambda spec: spec["outputs"][0].update(fields=["weight_kg", "height_cm"]), "outputs"),
        (lambda spec: spec["outputs"][0]["postprocessing"][0].update(multiply=["-5", "15"]), "outputs"),
        (lambda spec: spec["inputs"][0]["preprocessing"][0].update(divide=["5"]), "inputs"),
    ],
    ids=["version", "fields", "postprocessing", "preprocessing"],
)
def test_a_manifest_that_means_something_else_is_not_reproduced(
    bmi_package: Package, tmp_path: Path, change: Change, what: str
) -> None:
    """The numbers are the model's, but their names or units are not those of the published spec."""
    spec = json.loads((ZOO / "bmi" / "spec.json").read_text())
    change(spec)
    published = tmp_path / "spec.json"
    published.write_text(json.dumps(spec))
    with pytest.raises(Rejected) as caught:
        reproduce(bmi_package, ZOO / "bmi" / "network.onnx", spec=published, on_progress=_quiet)
    assert caught.value.code == "not-reproduced"
    assert what in caught.value.message


def test_the_published_spec_is_confirmed(bmi_package: Package) -> None:
    """With the true spec the result says that meanings were compared."""
    network, spec = ZOO / "bmi" / "network.onnx", ZOO / "bmi" / "spec.json"
    assert reproduce(bmi_package, network, spec=spec, on_progress=_quiet).meaning_compared


def test_run_args_that_nobody_measured_are_not_reproduced(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dishonest owner's circuit with useless weights (param_scale 1) is not confirmed, whatever samples it agrees on."""

    def unchecked(*arguments: Any, **named: Any) -> Any:
        choice = choose(*arguments, **named)
        args = choice.offer.run_args
        coarse = (
            {"param_scale": 1} if choice.offer.rewrites.plan is None else {"param_scale": PARAM_SCALE - 5}
        )
        return replace(choice, offer=replace(choice.offer, run_args={**args, **coarse}))

    choose = tune.choose
    monkeypatch.setattr(tune, "choose", unchecked)
    package = compile_model(quick, tmp_path / "bad", srs=None, insecure_srs=True, on_progress=_quiet)
    monkeypatch.undo()
    with pytest.raises(Rejected) as caught:
        reproduce(package, ZOO / "bmi" / "network.onnx", spec=None, on_progress=_quiet)
    assert caught.value.code == "not-reproduced"
    assert "fraction bits" in caught.value.message


def test_a_circuit_that_consumes_the_challenge_is_not_reproduced(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dishonest owner's circuit whose output depends on the challenge proves and verifies; a rebuild finds it out."""

    def consuming(self: Workplace, function: str, **arguments: Any) -> Any:
        result = honest(self, function, **arguments)
        if function == "wrap":
            model = onnx.load_model_from_string(arguments["output"].read_bytes())
            graph = model.graph
            graph.node[-1].output[0] = "inner"
            # A back door that calibration and self-test will hardly open: one limb of one value changes the answer.
            for name, value in (("first", 0), ("secret", 12345)):
                graph.initializer.append(numpy_helper.from_array(np.array([value], dtype=np.int64), name))
            graph.node.extend(
                [
                    helper.make_node("Gather", ["verinfer_challenge", "first"], ["limb"], axis=1),
                    helper.make_node("Equal", ["limb", "secret"], ["opened"]),
                    helper.make_node("Cast", ["opened"], ["lie"], to=TensorProto.FLOAT),
                    helper.make_node("Add", ["inner", "lie"], ["body"]),
                ]
            )
            arguments["output"].write_bytes(model.SerializeToString(deterministic=True))
        return result

    honest = Workplace.onnx
    with monkeypatch.context() as patched:
        patched.setattr(Workplace, "onnx", consuming)
        package = compile_model(quick, tmp_path / "bad", srs=None, insecure_srs=True, on_progress=_quiet)
    with pytest.raises(Rejected) as caught:
        reproduce(package, ZOO / "bmi" / "network.onnx", spec=None, on_progress=_quiet)
    assert caught.value.code == "not-reproduced"
    assert "wrapped" in caught.value.message


@pytest.mark.parametrize("phase", ["rewrite", "package"])
def test_an_interrupted_compilation_leaves_nothing(quick: Path, tmp_path: Path, phase: str) -> None:
    """Ctrl-C before the search or before the end leaves neither a package nor scraps beside it."""

    def interrupt(reached: str, _share: float) -> None:
        if reached == phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_model(quick, tmp_path / "out", srs=None, insecure_srs=True, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_small_disk_tears_no_file(tmp_path: Path) -> None:
    """Writing past the end of a full device reports a full disk and keeps the old file."""
    target = tmp_path / "file"
    files.write_atomically(target, b"old")
    with pytest.MonkeyPatch.context() as patched:

        def no_space(_descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patched.setattr(os, "fsync", no_space)
        with pytest.raises(CouldNotCheck) as caught:
            files.write_atomically(target, b"new")
    assert caught.value.code == "disk-full"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"old"


def test_an_existing_output_is_kept(bmi_package: Package) -> None:
    """A package is never overwritten."""
    with pytest.raises(UsageError) as caught:
        compile_model(ZOO / "bmi", bmi_package.folder, srs=None, insecure_srs=True, on_progress=_quiet)
    assert caught.value.code == "exists"


def test_without_a_ceremony_srs_nothing_is_built_by_accident(quick: Path, tmp_path: Path) -> None:
    """An insecure SRS has to be asked for by name; the error says how to get the real one."""
    with pytest.raises(UsageError, match="srs fetch"):
        compile_model(
            quick, tmp_path / "out", srs=None, insecure_srs=False, on_progress=_quiet, system="ezkl"
        )
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_drives_the_network_out_of_range_is_refused(
    bmi_package: Package, tmp_path: Path
) -> None:
    """The forward pass finds it, before anything is queued to prove."""
    bound = bmi_package.manifest.proof_system.bound
    with pytest.raises(UsageError) as caught:
        prover_for(bmi_package.manifest).forward(bmi_package, {"habits": [bound - 1] * 3}, _place(tmp_path))
    assert caught.value.code == "value-out-of-range"


def test_a_witness_does_not_stay_behind(bmi_package: Package, tmp_path: Path) -> None:
    """Inputs and witnesses hold a client's data in clear: they are gone when the proof is done."""
    prover, inputs, seen = prover_for(bmi_package.manifest), {"habits": [1, 2, 3]}, list[str]()
    witness = prover.forward(bmi_package, inputs, _place(tmp_path))

    def phases(phase: str, _share: float) -> None:
        seen.append(phase)

    evidence = prover.prove(bmi_package, witness, bytes([7] * 32), _place(tmp_path), phases)
    assert evidence.to_json()["proof"]
    assert "proving" in seen
    assert not {"input.json", "witness.json"} & {path.name for path in tmp_path.iterdir()}


def test_a_prover_without_memory_fails_with_a_code(bmi_package: Package, tmp_path: Path) -> None:
    """Running out of memory is a typed failure of the child, and this process lives."""
    small = Limits(memory_bytes=GIB // 8, cpu_seconds=60, file_bytes=GIB, wall_seconds=60)
    place = replace(_place(tmp_path), limits=small)
    prover = prover_for(bmi_package.manifest)
    witness = prover.forward(bmi_package, {"habits": [1, 2, 3]}, _place(tmp_path))
    with pytest.raises(ChildFailed) as caught:
        prover.prove(bmi_package, witness, bytes(32), place, _quiet)
    assert caught.value.code in ("child-out-of-memory", "child-panicked", "child-aborted", "child-no-answer")


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (lambda spec: spec["inputs"][0].update(name="other"), "shape-mismatch"),
        (lambda spec: spec["outputs"][0].update(shape=[2, 1]), "shape-mismatch"),
        (lambda spec: spec.update(onnx="0" * 64), "model-refused"),
        (lambda spec: spec.update(colour="red"), "spec-malformed"),
    ],
    ids=["name", "shape", "digest", "field"],
)
def test_a_spec_that_does_not_fit_is_refused(tmp_path: Path, spec: Change, code: str) -> None:
    """Names, shapes and digests must be the ONNX file's, and unknown fields are malformed."""
    folder = tmp_path / "model"
    shutil.copytree(ZOO / "bmi", folder)
    described = json.loads((folder / "spec.json").read_text())
    spec(described)
    (folder / "spec.json").write_text(json.dumps(described))
    with pytest.raises((UsageError, Malformed)) as caught:
        compile_model(folder, tmp_path / "out", srs=None, insecure_srs=True, on_progress=_quiet)
    assert caught.value.code == code


def test_modules_under_test_are_the_installed_ones() -> None:
    """One copy of each class: what the tests patch is what the library uses."""
    assert systems.__name__ == "verinfer.circuits.systems.ezkl"
