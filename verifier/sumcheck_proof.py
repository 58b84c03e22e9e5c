"""Checks a proof of verinfer-sc/1: the statement's integers, the bundle's description and root, and the proof's bytes.

Plain Python in this process, without a child: nothing native reads what comes from others, and the description, which the policy
pins, bounds the work to some seconds (`sumcheck.layout.MOST_STEPS`).
"""

from __future__ import annotations

from collections.abc import Sequence

from .bundle import Bundle
from .digest import challenge_bytes
from .errors import Rejected
from .evidence import Evidence, Proof
from .statement import Statement, TensorValue
from .sumcheck.check import check
from .sumcheck_system import SumcheckSystem

PROOF_LIMIT = 4 << 20


class SumcheckCheck:
    """Checks proofs of the kind ``proof/verinfer-sc-1``."""

    def check(self, statement: Statement, bundle: Bundle, evidence: Evidence) -> None:
        """Return if the proof is valid for this statement; raises `Rejected` (``proof-invalid``, ``security-too-low``)."""
        system, predicate = bundle.manifest.proof_system, statement.predicate
        assert isinstance(evidence, Proof)
        assert isinstance(system, SumcheckSystem)
        proof = evidence.data
        if len(proof) > PROOF_LIMIT:
            raise Rejected("proof-invalid", f"A proof has {PROOF_LIMIT} bytes at most, not {len(proof)}.")
        (given,), (made,) = predicate.input, predicate.output
        check(
            bundle.files["description.json"],
            bytes.fromhex(system.root),
            challenge_bytes(predicate.nonce, statement.digest),
            [value + system.input_zero for value in _integers(given)],
            _integers(made),
            proof,
        )

    def hash_tensors(self, tensors: Sequence[Sequence[int]]) -> tuple[str, ...]:  # noqa: ARG002 - of whatever tensors
        """Raises `Rejected` (``visibility-mismatch``): this system's circuits hide nothing."""
        raise Rejected("visibility-mismatch", "Circuits of verinfer-sc-1 show their inputs and hash nothing.")


def _integers(tensor: object) -> tuple[int, ...]:
    """The values of a tensor that was compared with the manifest: shown, and of a circuit."""
    assert isinstance(tensor, TensorValue)
    assert not isinstance(tensor.value, str)
    return tensor.value
