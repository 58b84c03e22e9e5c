"""Forward passes and proofs of a package: right numbers, typed failures, progress."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from verinfer.circuits.native import Workplace
from verinfer.circuits.package import Package
from verinfer.circuits.prove import read_proof
from verinfer.circuits.provers import prover_for
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.evidence import EZKL_KIND, Proof
from verinfer.verifier.numbers import dequantise, quantise
from verinfer.verifier.preprocess import to_input


def test_the_circuit_computes_the_model(quick_package: Package, place: Workplace) -> None:
    """On a real sample its outputs, at the manifest's scale, are those of the fp32 model but for rounding."""
    manifest = quick_package.manifest
    tensor, output = manifest.tensors("input")[0], manifest.tensors("output")[0]
    with np.load(quick_package.path("samples.npz"), allow_pickle=False) as samples:
        raw = samples["habits"][3].tolist()
    values = to_input(manifest.inputs[0], raw)
    integers = [
        quantise(value, tensor.scale, bound=manifest.proof_system.bound, field="habits") for value in values
    ]
    found = prover_for(manifest).forward(quick_package, {"habits": integers}, place).outputs["body"]
    np.savez(
        place.directory / "one.npz", allow_pickle=False, habits=np.array([values], "<f4").reshape(1, 1, 3)
    )
    expected = place.onnx(
        "run_many", model=quick_package.path("network.onnx"), inputs=place.directory / "one.npz"
    )
    assert [dequantise(value, output.scale) for value in found] == pytest.approx(expected[0][0], abs=0.1)


def test_evidence_has_the_kind_and_length_of_the_circuit(quick_package: Package, place: Workplace) -> None:
    """What comes out is evidence of the registered kind, of exactly the manifest's length; progress never runs backwards."""
    prover, inputs = prover_for(quick_package.manifest), {"habits": [5, 6, 7]}
    assert prover.kind == EZKL_KIND
    seen: list[float] = []
    witness = prover.forward(quick_package, inputs, place)
    evidence = prover.prove(
        quick_package, witness, bytes(range(32)), place, lambda _phase, share: seen.append(share)
    )
    assert isinstance(evidence, Proof)
    assert len(evidence.data) == quick_package.manifest.ezkl.proof_bytes
    assert seen == sorted(seen)
    assert all(0 <= share < 1 for share in seen)


def test_a_cancelled_proof_stops(quick_package: Package, place: Workplace) -> None:
    """Cancelling is a failure with its own code, and no proof is left."""
    wanted = threading.Event()
    wanted.set()
    stopped = Workplace(directory=place.directory, limits=place.limits, cancelled=wanted)
    prover, inputs = prover_for(quick_package.manifest), {"habits": [5, 6, 7]}
    witness = prover.forward(quick_package, inputs, place)
    with pytest.raises(ChildFailed) as caught:
        prover.prove(quick_package, witness, bytes(32), stopped, lambda _phase, _share: None)
    assert caught.value.code == "child-cancelled"
    assert not (place.directory / "proof.json").exists()


def test_every_child_is_announced(quick_package: Package, place: Workplace) -> None:
    """A supervisor learns the process id of each child before it works, so that it can end what a crash left behind."""
    pids: list[int] = []
    heard = Workplace(directory=place.directory, limits=place.limits, on_start=pids.append)
    prover_for(quick_package.manifest).forward(quick_package, {"habits": [5, 6, 7]}, heard)
    assert len(pids) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"proof": [256]}', '{"proof": "x"}', '{"proof": null}', '{"proof": 3}']
)
def test_a_torn_proof_file_is_named(text: str, tmp_path: Path) -> None:
    """A proof file that was not written whole is a failure of the disk, not a traceback and not a proof."""
    path = tmp_path / "proof.json"
    path.write_text(text)
    with pytest.raises(CouldNotCheck) as caught:
        read_proof(path)
    assert caught.value.code == "artifact-torn"


def test_a_proof_is_its_bytes(tmp_path: Path) -> None:
    """The bytes are read from EZKL's list of numbers."""
    path = tmp_path / "proof.json"
    path.write_text(json.dumps({"proof": [0, 1, 255]}))
    assert read_proof(path) == b"\x00\x01\xff"
