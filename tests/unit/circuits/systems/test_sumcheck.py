"""Packages of verinfer-sc/1: what is in them, what rebuilds them, and what proves with them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from verinfer.circuits import kernels, stages
from verinfer.circuits.calibrate import Reference
from verinfer.circuits.compile import compile_model
from verinfer.circuits.native import PARSE_LIMITS, Workplace, heavy_limits
from verinfer.circuits.package import PARTS, Package, open_package
from verinfer.circuits.prove_sumcheck import read_outputs, read_proof
from verinfer.circuits.provers import prover_for
from verinfer.circuits.reproduce import reproduce
from verinfer.circuits.systems.choice import BY_MANIFEST
from verinfer.circuits.systems.port import Rebuilding
from verinfer.circuits.systems.sumcheck_estimate import estimate
from verinfer.circuits.targets import Targets
from verinfer.circuits.worker import Worker
from verinfer.verifier import files
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected, UsageError, VerinferError
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.numbers import from_binary64, to_binary64

INPUTS = {"habits": (5, -6, 7)}


def _quiet(_phase: str, _share: float) -> None:
    """Progress that nobody sees."""


# what is in it


def test_the_folder_holds_what_it_lists(sumcheck_package: Package) -> None:
    """Model, weights, card and bundle; no key of EZKL's, no SRS; weights are for their owner alone."""
    parts = PARTS["verinfer-sc-1"]
    folder = sumcheck_package.folder
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {*parts.all, "package.json"}
    private = {part for part in parts.all if (folder / part).stat().st_mode & 0o777 == 0o600}
    assert private == {"weights.bin", "network.onnx", "samples.npz"}
    assert sumcheck_package.bundle.provenance == "transparent"
    assert sumcheck_package.index.logrows is None


def test_the_card_says_what_a_proof_is_worth_and_why_it_is_one_of_ours(sumcheck_package: Package) -> None:
    """Bits against accuracy and time, the security budget, and the caveats that a verdict has, in all its forms."""
    card = json.loads(sumcheck_package.path("card.json").read_bytes())
    assert [point["bits"] for point in card["numbers"] if point["chosen"]] == [card["bits"]]
    errors = {point["bits"]: point["error"] for point in card["numbers"]}
    assert list(errors) == sorted(errors)
    assert errors[5] > errors[card["bits"]] > errors[16]
    assert card["security"]["bits"] >= 100
    assert card["because"] == "it was asked for"
    assert card["cost"]["prove_peak_bytes"] > 10**7
    for page in ("card.md", "card.html"):
        text = sumcheck_package.path(page).read_text()
        for part in ("integrity-only-proof", "proof-system-unaudited", "unique decoding", "it was asked for"):
            assert part in text
        assert "SRS" not in text.replace("no SRS", "")


@pytest.mark.parametrize("part", PARTS["verinfer-sc-1"].all)
def test_a_changed_file_is_never_used(sumcheck_package: Package, tmp_path: Path, part: str) -> None:
    """One flipped bit of any file, and the package does not open."""
    copy = Path(shutil.copytree(sumcheck_package.folder, tmp_path / "package"))
    data = bytearray((copy / part).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / part).write_bytes(data)
    with pytest.raises(CouldNotCheck) as caught:
        open_package(copy)
    assert caught.value.code == "artifact-torn"


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "verinfer.verifier", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_compiling_again_gives_the_same_identity(
    quick: Path, sumcheck_package: Package, tmp_path: Path
) -> None:
    """Whoever asks for nothing that only EZKL does gets our own system, and the very same circuit; the command says why."""
    done = _run("compile", quick, "--out", tmp_path / "again")
    assert open_package(tmp_path / "again").digest == sumcheck_package.digest
    assert done.stderr.split() == ["inspect", "numbers", "setup", "self-test", "package"]
    assert "verinfer-sc-1: nothing was asked for that only EZKL does" in done.stdout


def test_a_warm_up_is_done_once(sumcheck_package: Package) -> None:
    """Where kernels are, `verinfer warmup` says so, and where."""
    assert sumcheck_package.digest
    found = json.loads(_run("warmup", "--json").stdout)
    assert found["compiled"] is False
    assert (Path(found["folder"]) / "ready").is_file()


def test_a_target_that_is_not_met_gives_no_package(quick: Path, tmp_path: Path) -> None:
    """What a proof took here is measured against what was asked; neither a package nor scraps are left."""
    with pytest.raises(CouldNotCheck) as caught:
        compile_model(
            quick,
            tmp_path / "out",
            srs=None,
            insecure_srs=False,
            on_progress=_quiet,
            targets=Targets(memory_bytes=1),
            system="sumcheck",
        )
    assert caught.value.code == "no-circuit"
    assert list(tmp_path.iterdir()) == []


def test_an_estimate_is_what_is_built(quick: Path, sumcheck_package: Package) -> None:
    """Bits and cells are known before any key is made; a bare file has no samples, which say how many bits it needs."""
    card = json.loads(sumcheck_package.path("card.json").read_bytes())
    found = estimate(quick).to_json()
    names = ("bits", "limb_bits", "witness_bits", "weights_bits", "weights", "proof_system")
    assert {name: found[name] for name in names} == {name: card[name] for name in names}
    with pytest.raises(UsageError, match="samples"):
        estimate(quick / "network.onnx")


# what rebuilds it


def test_a_rebuild_confirms_the_package(quick: Path, sumcheck_package: Package) -> None:
    """From the ONNX file and the manifest's numbers, on samples of the auditor's own."""
    found = reproduce(
        sumcheck_package,
        quick / "network.onnx",
        spec=quick / "spec.json",
        samples=quick / "samples.npz",
        on_progress=_quiet,
    )
    assert (found.circuit, found.provenance) == (sumcheck_package.digest, "transparent")
    assert (found.own_samples, found.meaning_compared, found.fidelity.samples) == (True, True, 32)


@dataclass(frozen=True)
class Claim:
    """What somebody says of a package: another manifest over its files."""

    manifest: Manifest
    package: Package

    def path(self, part: str) -> Path:
        """One of the package's files."""
        return self.package.path(part)


Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def rebuilding(
    quick: Path, sumcheck_package: Package, tmp_path_factory: pytest.TempPathFactory
) -> Rebuilding:
    """The package as it is being rebuilt: what an auditor's file and samples gave, once for all claims."""
    light = Workplace(directory=tmp_path_factory.mktemp("rebuilding"), limits=PARSE_LIMITS)
    network, manifest = quick / "network.onnx", sumcheck_package.manifest
    samples = stages.read_samples(quick / "samples.npz", manifest, light)
    return Rebuilding(
        package=sumcheck_package,
        network=network,
        reference=Reference(manifest, samples, stages.run_fp32(network, manifest, samples, light)),
        light=light,
        heavy=replace(light, limits=heavy_limits()),
        targets=Targets(),
        on_progress=_quiet,
    )


def _scaled(text: str, factor: float) -> str:
    return to_binary64(from_binary64(text) * factor)


def _narrow(manifest: dict[str, Any]) -> None:
    """Every activation saturates at once: a network that hardly depends on its input."""
    numbers = manifest["proof_system"]["numbers"]
    numbers["outputs"] = [[_scaled(end, 1e-30) for end in ends] for ends in numbers["outputs"]]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda it: it["proof_system"].update(root="0" * 64), "the root of the weights"),
        (lambda it: it["proof_system"].update(description="0" * 64), "the description"),
        (lambda it: it["proof_system"].update(input_zero=1), "integer of an input of 0"),
        (lambda it: it["layout"][0].update(scale=it["layout"][0]["scale"] + 1), "input's scale"),
        (lambda it: it["layout"][1].update(scale=it["layout"][1]["scale"] - 1), "output's scale"),
        (lambda it: it["proof_system"]["numbers"]["widths"].__setitem__(0, 1), "has not from"),
        (lambda it: it["proof_system"]["numbers"].update(widths=[8], outputs=[["0" * 16] * 2]), "stages"),
        (_narrow, "numbers make no network"),
    ],
    ids=[
        "root",
        "description",
        "zero",
        "input scale",
        "output scale",
        "narrow",
        "stages",
        "saturated",
    ],
)
def test_a_manifest_of_another_network_is_not_reproduced(
    rebuilding: Rebuilding, sumcheck_package: Package, change: Change, what: str
) -> None:
    """Other weights, other numbers, or another reading of inputs and outputs: the rebuild names what differs."""
    told = sumcheck_package.manifest.to_json()
    change(told)
    claim = Claim(Manifest.model_validate_json(json.dumps(told)), sumcheck_package)
    with pytest.raises(Rejected, match=what) as caught:
        BY_MANIFEST["verinfer-sc-1"].rebuild(replace(rebuilding, package=claim))
    assert caught.value.code == "not-reproduced"


def test_another_onnx_file_is_not_reproduced(sumcheck_package: Package, bmi: Path) -> None:
    """A rebuild from another model is refused."""
    with pytest.raises(Rejected, match="ONNX") as caught:
        reproduce(sumcheck_package, bmi.parent / "digits" / "network.onnx", spec=None, on_progress=_quiet)
    assert caught.value.code == "not-reproduced"


def test_an_auditor_may_ask_for_more_than_the_owner(rebuilding: Rebuilding) -> None:
    """What counts as agreement is the auditor's to say."""
    with pytest.raises(Rejected, match="is off by"):
        BY_MANIFEST["verinfer-sc-1"].rebuild(replace(rebuilding, targets=Targets(error=1e-9)))


# what proves with it


def test_too_little_memory_is_a_failure_with_a_code(sumcheck_package: Package, place: Workplace) -> None:
    """A child that cannot even load its kernels says so, or dies and that is said; nothing else is harmed."""
    tight = Workplace(directory=place.directory, limits=place.limits._replace(memory_bytes=256 << 20))
    with pytest.raises(CouldNotCheck) as caught:
        prover_for(sumcheck_package.manifest).forward(sumcheck_package, INPUTS, tight)
    assert caught.value.code.startswith(("child-", "native-missing"))
    assert list(place.directory.iterdir()) == []


def test_weights_of_another_network_are_not_proven_with(
    sumcheck_package: Package, tmp_path: Path, place: Workplace
) -> None:
    """A worker makes its key from the weights, and compares the root: no proof that nobody takes leaves it."""
    copy = Path(shutil.copytree(sumcheck_package.folder, tmp_path / "package"))
    data = bytearray((copy / "weights.bin").read_bytes())
    data[0] ^= 1
    (copy / "weights.bin").write_bytes(data)
    torn = Package(copy, sumcheck_package.index, sumcheck_package.bundle)
    with pytest.raises(ChildFailed) as caught:
        prover_for(torn.manifest).forward(torn, INPUTS, place)
    assert caught.value.code == "artifact-torn"


def _answering(monkeypatch: pytest.MonkeyPatch, function: str, change: Callable[[Any], Any]) -> None:
    """Workers whose answers to one question are changed, as those of a child that was taken over may be."""
    ask = Worker.ask

    def changed(worker: Worker, asked: str, **arguments: Any) -> Any:
        answer = ask(worker, asked, **arguments)
        return change(answer) if asked == function else answer

    monkeypatch.setattr(Worker, "ask", changed)


def test_outputs_that_no_statement_can_have_are_no_answer(
    sumcheck_package: Package, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker says is read before anything is stated: integers, as many as there are, of 53 bits at most."""
    for answer in (None, "12", [1], [1, 2, 3], [1, True], [1, 2.0], [1, 1 << 53], [1, -(1 << 53)]):
        with pytest.raises(ChildFailed) as caught:
            read_outputs(answer, 2, 1 << 53)
        assert caught.value.code == "child-no-answer"
    _answering(monkeypatch, "forward", lambda _: "12")
    with pytest.raises(ChildFailed) as caught:
        prover_for(sumcheck_package.manifest).forward(sumcheck_package, INPUTS, place)
    assert caught.value.code == "child-no-answer"


def test_a_proof_of_other_outputs_is_never_released(
    sumcheck_package: Package, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement is of the forward pass, and a proof is taken for the same outputs only."""
    good = {"y": [1, 2], "proof": "AAAA"}
    assert read_proof(good, 2, 1 << 53) == ((1, 2), bytes(3))
    for answer in (None, {"y": [1, 2]}, {**good, "proof": "*"}, {**good, "proof": 7}, {**good, "y": [1]}):
        with pytest.raises(ChildFailed) as failed:
            read_proof(answer, 2, 1 << 53)
        assert failed.value.code == "child-no-answer"
    prover = prover_for(sumcheck_package.manifest)
    witness = prover.forward(sumcheck_package, INPUTS, place)
    _answering(monkeypatch, "prove", lambda found: {**found, "y": [found["y"][0] + 1, *found["y"][1:]]})
    with pytest.raises(CouldNotCheck) as caught:
        prover.prove(sumcheck_package, witness, bytes(32), place, _quiet)
    assert caught.value.code == "circuit-inconsistent"


def _with_bit_flipped(found: Any) -> Any:
    proof = bytearray(base64.b64decode(found["proof"]))
    proof[len(proof) // 2] ^= 1
    return {**found, "proof": base64.b64encode(proof).decode()}


@pytest.mark.parametrize(
    ("function", "change", "code", "what"),
    [
        ("forward", lambda found: [found[0] + 1, *found[1:]], "circuit-inconsistent", "other outputs"),
        ("prove", _with_bit_flipped, "no-circuit", "does not verify"),
        ("prove", lambda found: {**found, "proof": "AAAA" * 1398102}, "no-circuit", "more than verifiers"),
    ],
    ids=["outputs", "proof", "size"],
)
def test_keys_that_do_not_prove_are_no_package(
    quick: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    change: Callable[[Any], Any],
    code: str,
    what: str,
) -> None:
    """Before there is a package its first proof is checked, as whoever gets one will check it."""
    _answering(monkeypatch, function, change)
    with pytest.raises(CouldNotCheck, match=what) as caught:
        compile_model(
            quick, tmp_path / "out", srs=None, insecure_srs=False, on_progress=_quiet, system="sumcheck"
        )
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


# kernels


def test_every_kernel_is_compiled_ahead(sumcheck_package: Package, place: Workplace) -> None:
    """What `verinfer warmup` runs calls each of them; with a warm cache it takes seconds."""
    assert sumcheck_package.measured.prove_ms < 20_000
    assert place.sumcheck("compile_kernels") == []


def test_no_request_waits_for_a_compiler(
    sumcheck_package: Package, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without kernels a proof is refused with a code that says what to run."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cold"))
    with pytest.raises(CouldNotCheck, match="warmup") as caught:
        prover_for(sumcheck_package.manifest).forward(sumcheck_package, INPUTS, place)
    assert caught.value.code == "kernels-missing"


def test_kernels_of_another_machine_are_not_used(
    sumcheck_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that came with an image from another kind of processor, or of another Python, counts as none."""
    assert sumcheck_package.digest
    assert kernels.are_ready()
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert not kernels.are_ready()


# which system


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"inputs": "hashed"}, "hashed inputs"),
        ({"inputs": "private"}, "private inputs"),
        ({"batch": 2}, "several samples"),
        ({"targets": Targets(evm=True)}, "contracts"),
        ({"insecure_srs": True}, "SRS"),
    ],
    ids=["hashed", "private", "batch", "evm", "srs"],
)
def test_what_only_ezkl_does_is_not_promised(
    quick: Path, tmp_path: Path, wishes: dict[str, Any], why: str
) -> None:
    """Asking for ours and for what it cannot do is refused before anything is done, and the reason says which wish it is."""
    asked: dict[str, Any] = {"srs": None, "insecure_srs": False, **wishes}
    with pytest.raises(UsageError, match=why) as caught:
        compile_model(quick, tmp_path / "out", on_progress=_quiet, system="sumcheck", **asked)
    assert caught.value.code == "system-unsuitable"


def _with_sigmoids(folder: Path) -> None:
    """Another network, of an operator that our system lacks."""
    network = onnx.load_model_from_string((folder / "network.onnx").read_bytes())
    for node in network.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Sigmoid"
    _replace(folder, network)


def _with_huge_outputs(folder: Path) -> None:
    """The same network, but for the unit of its outputs, which no fixed point of a manifest reaches."""
    network = onnx.load_model_from_string((folder / "network.onnx").read_bytes())
    numbers = {item.name: item for item in network.graph.initializer}
    for name in network.graph.node[-1].input[1:]:
        values = numpy_helper.to_array(numbers[name])
        numbers[name].CopyFrom(numpy_helper.from_array(np.ldexp(values, 90), name))
    _replace(folder, network)


def _replace(folder: Path, network: onnx.ModelProto) -> None:
    (folder / "network.onnx").write_bytes(network.SerializeToString())
    spec = json.loads((folder / "spec.json").read_text())
    spec["onnx"] = files.digest_of(folder / "network.onnx")
    (folder / "spec.json").write_text(json.dumps(spec))


@pytest.mark.parametrize(
    ("change", "targets", "code", "what"),
    [
        (_with_sigmoids, Targets(), "model-unsupported", "Sigmoid"),
        (lambda _folder: None, Targets(error=1e-12), "no-circuit", "best agrees"),
        (_with_huge_outputs, Targets(), "no-circuit", "fixed point"),
    ],
    ids=["node", "target", "outputs"],
)
def test_what_ours_cannot_do_is_named_and_left_to_ezkl(
    quick: Path, tmp_path: Path, change: Callable[[Path], None], targets: Targets, code: str, what: str
) -> None:
    """Asked for by name, our system says why it refuses; left to choose, EZKL is taken, and begins its search."""
    model = Path(shutil.copytree(quick, tmp_path / "model"))
    change(model)

    def compiled(**named: Any) -> VerinferError:
        with pytest.raises((Malformed, UsageError, CouldNotCheck)) as caught:
            compile_model(
                model,
                tmp_path / "out",
                srs=None,
                insecure_srs=False,
                on_progress=_stop_at("rewrite"),
                targets=targets,
                **named,
            )
        assert list(tmp_path.iterdir()) == [model]
        return caught.value

    refused = compiled(system="sumcheck")
    assert refused.code == code
    assert what in refused.message
    assert compiled().message == "EZKL was tried"


def _stop_at(phase: str) -> Callable[[str, float], None]:
    def stop(reached: str, _share: float) -> None:
        if reached == phase:
            raise UsageError("usage", "EZKL was tried")

    return stop
