"""From an order to a receipt: forward pass, statement, proof, verification. The service's one seam to circuits and proofs.

Each step is done when its result is recorded; a job that is taken up again starts after the last recorded step.
The statement is recorded before anything is signed or proven, and a proof leaves only after a fresh process has verified it
with the pinned bundle, as a client would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verinfer.circuits.native import Workplace
from verinfer.circuits.package import Package
from verinfer.circuits.prove import Witness
from verinfer.circuits.provers import prover_for
from verinfer.verifier import dsse, keys, strict_json
from verinfer.verifier.bundle import read_files
from verinfer.verifier.digest import challenge_bytes
from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.evidence import Evidence, parse_evidence
from verinfer.verifier.policy import POLICY_TYPE, Policy, TrustedPolicy
from verinfer.verifier.proof_systems import SYSTEMS, ProofSystem
from verinfer.verifier.receipt import encode_receipt
from verinfer.verifier.statement import (
    PAYLOAD_TYPE,
    STATEMENT_LIMIT,
    HashedTensor,
    Statement,
    parse_statement,
)
from verinfer.verifier.verify import Expect, verify
from verinfer.verifier.wire import format_time, parse_time, validate

from . import statements
from .jobs import Order

OnProgress = Callable[[str, float], None]
"""Phase, and the fraction of the whole work that is done, 0 to 1."""


class Record(Protocol):
    """Where the steps of one job are recorded, under its lease."""

    def statement(self, statement: bytes) -> bytes:
        """Record the statement unless there is one; gives the recorded one."""
        ...

    def proof(self, kind: str) -> bytes | None:
        """The evidence of this kind that was recorded earlier."""
        ...

    def record_proof(self, kind: str, evidence: bytes) -> None:
        """Record finished evidence."""
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt that was verified and may be published."""

    digest: str
    body: bytes


def make_receipt(
    order: Order,
    statement: bytes | None,
    package: Package,
    key: Ed25519PrivateKey,
    record: Record,
    place: Workplace,
    on_progress: OnProgress,
    checks: Mapping[str, ProofSystem] = SYSTEMS,
) -> Receipt:
    """Do what is still to be done for `order`; `statement` is the one that an earlier attempt recorded.

    `checks` verify the finished proof, by kind of evidence, in fresh processes.

    Raises `VerinferError`; its code is the job's.
    """
    witness = None
    if statement is None:
        on_progress("computing", 0.0)
        witness = prover_for(package.manifest).forward(package, order.inputs, place)
        statement = record.statement(_state(order, package, key, witness))
    stated = parse_statement(statement)
    evidence = _prove(order, stated, package, witness, record, place, on_progress)
    on_progress("verifying", 0.95)
    receipt = encode_receipt(dsse.sign(statement, PAYLOAD_TYPE, key), evidence)
    _check(receipt, stated, package, key, checks)
    return Receipt(stated.digest, receipt)


def _state(order: Order, package: Package, key: Ed25519PrivateKey, witness: Witness) -> bytes:
    answer = statements.Answer(
        issuer=keys.key_id(key.public_key()),
        nonce=order.nonce,
        audience=order.audience,
        mode=order.mode,
        issued_at=datetime.now(UTC),
    )
    return statements.of_circuit(answer, package.manifest, order.inputs, witness.outputs, witness.hashes)


def _prove(
    order: Order,
    stated: Statement,
    package: Package,
    witness: Witness | None,
    record: Record,
    place: Workplace,
    on_progress: OnProgress,
) -> Mapping[str, Evidence]:
    prover = prover_for(package.manifest)
    recorded = record.proof(prover.kind)
    if recorded is not None:
        return {prover.kind: parse_evidence(prover.kind, strict_json.parse(recorded, limit=STATEMENT_LIMIT))}
    if witness is None:
        on_progress("witness", 0.0)
        witness = prover.forward(package, order.inputs, place)
    outputs = {
        tensor.name: tensor.value for tensor in stated.predicate.output if not isinstance(tensor.value, str)
    }
    hashes = {
        tensor.name: tensor.hash for tensor in stated.predicate.input if isinstance(tensor, HashedTensor)
    }
    if (outputs, hashes) != (witness.outputs, witness.hashes):
        raise CouldNotCheck(
            "circuit-inconsistent", "A forward pass gave other outputs than the statement has."
        )
    challenge = challenge_bytes(order.nonce, stated.digest)
    evidence = prover.prove(package, witness, challenge, place, on_progress)
    record.record_proof(prover.kind, evidence.canonical())
    return {prover.kind: evidence}


@dataclass(frozen=True, slots=True)
class _Bundle:
    """The package's own bundle, read again from disk."""

    package: Package

    def read(self, circuit: str) -> Mapping[str, bytes]:  # noqa: ARG002 - there is one circuit here
        return read_files(self.package.path("verify"))


def _check(
    receipt: bytes,
    stated: Statement,
    package: Package,
    key: Ed25519PrivateKey,
    checks: Mapping[str, ProofSystem],
) -> None:
    """Verify the receipt as a client would that pins this service and this circuit; raises what `verify` raises."""
    predicate = stated.predicate
    issued_at = parse_time(predicate.issued_at)
    pins = _pins(package, key, issued_at)
    expect = Expect(nonce=predicate.nonce, audience=predicate.audience, mode=predicate.mode)
    # A job that was taken up again may be older than any max_age, so it is judged at its own time.
    verify(
        receipt,
        policy=pins,
        now=issued_at,
        expect=expect,
        bundles=_Bundle(package),
        proof_systems=checks,
    )


def _pins(package: Package, key: Ed25519PrivateKey, at: datetime) -> TrustedPolicy:
    model = package.manifest.model
    later = format_time(at + timedelta(days=1))
    body = {
        "type": POLICY_TYPE,
        "serial": 1,
        "valid_until": later,
        "proof_systems": [package.manifest.proof_system.name],
        "models": [
            {
                "name": model.name,
                "onnx": model.onnx,
                "circuits": [{"digest": package.digest, "model_checked": "trusted"}],
                "runtimes": [],
            }
        ],
        "issuers": [
            {"key": keys.encode_public(key.public_key()), "valid_from": format_time(at), "valid_until": later}
        ],
        "require": ["signature", "proof"],
        "max_age": 1,
        "revoked": {"issuers": [], "circuits": [], "models": []},
        # The operator chose the package; whether its SRS will do is for each client's policy to say.
        "relaxations": ["allow_insecure_srs"],
    }
    return TrustedPolicy(validate(Policy, body, code="policy-malformed"), "local")
