"""Proofs of verinfer-sc/1: a worker with the circuit's proving key computes the answer, then proves it.

The worker is the workplace's: a service keeps one for each package, so that a small network's proof takes milliseconds.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.evidence import SUMCHECK_KIND, Evidence, Proof
from verinfer.verifier.manifest import Manifest
from verinfer.verifier.sumcheck_system import SumcheckSystem

from .native import Workplace
from .package import Package
from .prove import OnProgress, Tensors, Witness, estimated
from .worker import KeyFiles


class SumcheckProver:
    """Proves circuits of the kind ``verinfer-sc-1``."""

    kind = SUMCHECK_KIND

    def forward(self, package: Package, inputs: Tensors, place: Workplace) -> Witness:
        """The network's answer; raises `ChildFailed` or `CouldNotCheck` (``kernels-missing``, ``circuit-inconsistent``)."""
        (output,) = package.manifest.tensors("output")
        answer = place.prover(key_files(package), "forward", x=_shifted(package.manifest, inputs))
        return Witness(inputs, {output.name: read_outputs(answer, output.size, _bound(package))})

    def prove(
        self,
        package: Package,
        witness: Witness,
        challenge: bytes,
        place: Workplace,
        on_progress: OnProgress,
    ) -> Evidence:
        """A proof of the witness's answer for the request that `challenge` binds it to."""
        (output,) = package.manifest.tensors("output")
        x = _shifted(package.manifest, witness.inputs)
        with estimated(package.measured.prove_ms / 1000, on_progress, "proving"):
            made = place.prover(key_files(package), "prove", x=x, challenge=challenge.hex())
        outputs, proof = read_proof(made, output.size, _bound(package))
        if outputs != witness.outputs[output.name]:
            raise CouldNotCheck(
                "circuit-inconsistent", "The proof is of other outputs than the forward pass."
            )
        return Proof.of(proof)


def key_files(package: Package) -> KeyFiles:
    """What the package's proving key is made of."""
    return KeyFiles(
        package.path("verify/description.json"), package.path("weights.bin"), _system(package.manifest).root
    )


def _system(manifest: Manifest) -> SumcheckSystem:
    system = manifest.proof_system
    assert isinstance(system, SumcheckSystem)
    return system


def _shifted(manifest: Manifest, inputs: Tensors) -> list[int]:
    """D's input, which is never negative."""
    (given,) = manifest.tensors("input")
    zero = _system(manifest).input_zero
    return [value + zero for value in inputs[given.name]]


def _bound(package: Package) -> int:
    return package.manifest.proof_system.bound


def read_proof(answer: Any, size: int, bound: int) -> tuple[tuple[int, ...], bytes]:
    """A worker's proof, and the output that it is of; raises `ChildFailed` as `read_outputs`."""
    try:
        outputs, proof = answer["y"], base64.b64decode(answer["proof"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise ChildFailed("child-no-answer") from error
    return read_outputs(outputs, size, bound), proof


def read_outputs(answer: Any, size: int, bound: int) -> tuple[int, ...]:
    """A worker's output of `size` integers below `bound`, if it is one that a statement can have.

    What native code says may be anything: raises `ChildFailed` (``child-no-answer``).
    """
    if not isinstance(answer, Sequence) or len(answer) != size:
        raise ChildFailed("child-no-answer")
    if not all(type(value) is int and -bound < value < bound for value in answer):
        raise ChildFailed("child-no-answer")
    return tuple(answer)
