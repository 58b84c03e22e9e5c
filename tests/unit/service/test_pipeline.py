from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.package import Package
from verinfer.service import statements
from verinfer.service.jobs import Order
from verinfer.service.pipeline import Receipt, make_receipt
from verinfer.verifier.digest import salt_limbs
from verinfer.verifier.errors import CouldNotCheck, Rejected, VerinferError
from verinfer.verifier.evidence import Proof
from verinfer.verifier.ezkl_proof import EzklCheck
from verinfer.verifier.keys import key_id
from verinfer.verifier.receipt import parse_receipt

KEY = Ed25519PrivateKey.generate()


@dataclass
class Notebook:
    """The record of one job, in memory."""

    stated: bytes | None = None
    proofs: dict[str, bytes] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)

    def statement(self, statement: bytes) -> bytes:
        """Keep the first one."""
        self.steps.append("statement")
        self.stated = self.stated or statement
        return self.stated

    def proof(self, kind: str) -> bytes | None:
        """What is kept."""
        return self.proofs.get(kind)

    def record_proof(self, kind: str, evidence: bytes) -> None:
        """Keep it."""
        self.steps.append(kind)
        self.proofs[kind] = evidence


@dataclass
class Job:
    """One order, and its attempts."""

    package: Package
    order: Order
    place: Workplace
    notebook: Notebook = field(default_factory=Notebook)
    phases: list[str] = field(default_factory=list)

    def attempt(self) -> Receipt:
        """Do what is still to be done."""
        return make_receipt(
            self.order,
            self.notebook.stated,
            self.package,
            KEY,
            self.notebook,
            self.place,
            lambda phase, _done: self.phases.append(phase),
        )

    def forbid_children(self) -> None:
        """From now on no child can compute or prove; the one that verifies has limits of its own."""
        limits = self.place.limits._replace(memory_bytes=1 << 20)
        self.place = replace(self.place, limits=limits)


@pytest.fixture
def job(bmi_package: Package, tmp_path: Path) -> Job:
    """A new job."""
    order = Order(
        model="bmi",
        version="1",
        circuit=bmi_package.digest,
        mode="zk",
        nonce=secrets.token_hex(32),
        audience="me",
        inputs={"habits": (13, 26, -38)},
    )
    return Job(bmi_package, order, Workplace(directory=tmp_path, limits=heavy_limits()))


def test_an_order_becomes_a_receipt(job: Job) -> None:
    """Statement first, then the proof, then verification; the receipt says what was ordered."""
    receipt = job.attempt()
    assert job.notebook.steps == ["statement", "proof/ezkl-halo2-kzg"]
    assert (job.phases[0], job.phases[-1]) == ("computing", "verifying")
    predicate = parse_receipt(receipt.body).statement.predicate
    assert (predicate.nonce, predicate.audience, predicate.mode) == (job.order.nonce, "me", "zk")
    assert [tensor.to_json()["value"] for tensor in predicate.input] == [[13, 26, -38]]

    # Both steps are recorded, so another attempt computes and proves nothing, and gives the same bytes.
    job.forbid_children()
    assert job.attempt() == receipt


@pytest.fixture
def our_job(sumcheck_package: Package, job: Job) -> Job:
    """The same order for a circuit of verinfer-sc/1."""
    order = replace(job.order, circuit=sumcheck_package.digest, mode="proof")
    return replace(job, package=sumcheck_package, order=order)


def test_an_order_becomes_a_receipt_in_our_own_system(our_job: Job) -> None:
    """The same steps, and what is recorded is not done again; a statement alone is enough to go on from."""
    receipt = our_job.attempt()
    assert our_job.notebook.steps == ["statement", "proof/verinfer-sc-1"]
    predicate = parse_receipt(receipt.body).statement.predicate
    assert (predicate.runtime.version, predicate.mode) == ("verinfer-sc/1", "proof")

    our_job.notebook.proofs.clear()
    again = our_job.attempt()
    assert again.digest == receipt.digest
    our_job.forbid_children()
    assert our_job.attempt() == again


def test_a_bad_proof_of_our_own_system_is_never_released(our_job: Job) -> None:
    """The verifier's code looks at what leaves: one changed byte, and there is no receipt."""
    our_job.attempt()
    [(kind, evidence)] = our_job.notebook.proofs.items()
    proof = bytearray(Proof.model_validate_json(evidence).data)
    proof[len(proof) // 2] ^= 1
    our_job.notebook.proofs[kind] = Proof.of(bytes(proof)).canonical()
    with pytest.raises(Rejected, match="proof-invalid"):
        our_job.attempt()


def test_our_own_system_never_says_zero_knowledge(our_job: Job) -> None:
    """A statement of mode zk about such a circuit is refused before anybody sees it."""
    our_job.order = replace(our_job.order, mode="zk")
    with pytest.raises(Rejected, match="not-zero-knowledge"):
        our_job.attempt()


@pytest.mark.parametrize("visibility", ["hashed", "private"])
def test_a_hidden_input_is_in_no_receipt(
    visibility: str, request: pytest.FixtureRequest, job: Job, tmp_path: Path
) -> None:
    """Neither it nor its salt: the statement has a hash or nothing, and a lost proof is made again for the same one."""
    package: Package = request.getfixturevalue(f"{visibility}_package")
    limbs = salt_limbs("5a" * 32, "habits") if visibility == "hashed" else ()
    inputs = {"habits": (13, 26, -38, *limbs)}
    hidden = Job(package, replace(job.order, circuit=package.digest, inputs=inputs), job.place)
    first = hidden.attempt()
    (told,) = parse_receipt(first.body).statement.predicate.input
    wanted = {"name": "habits", "shape": [1, 3], "dtype": "FP32", "visibility": visibility}
    shown = told.to_json()
    assert shown.pop("hash", "") == (
        EzklCheck().hash_tensors([inputs["habits"]])[0] if visibility == "hashed" else ""
    )
    assert shown == wanted
    # What holds the input in clear is gone as soon as the proof is there.
    assert not {"input.json", "witness.json"} & {path.name for path in tmp_path.iterdir()}
    hidden.notebook.proofs.clear()
    again = hidden.attempt()
    assert again.digest == first.digest
    assert again.body != first.body


def test_a_hash_that_the_circuit_does_not_confirm_is_not_proven(job: Job, hashed_package: Package) -> None:
    """A job that is taken up again with another salt than was stated stops before its proof."""
    order = replace(job.order, circuit=hashed_package.digest)
    first, other = (
        replace(order, inputs={"habits": (13, 26, -38, *salt_limbs(salt * 32, "habits"))})
        for salt in ("5a", "5b")
    )
    hidden = Job(hashed_package, first, job.place)
    hidden.attempt()
    hidden.notebook.proofs.clear()
    hidden.order = other
    with pytest.raises(CouldNotCheck) as caught:
        hidden.attempt()
    assert caught.value.code == "circuit-inconsistent"
    assert hidden.notebook.proofs == {}


def test_a_step_that_is_not_recorded_is_done(job: Job) -> None:
    """The counterpart of the last lines above: without children there is no first attempt."""
    job.forbid_children()
    with pytest.raises(VerinferError):
        job.attempt()
    assert job.notebook == Notebook()


def test_an_earlier_statement_is_kept(job: Job) -> None:
    """An attempt that lost its proof proves the statement that an earlier one recorded."""
    first = job.attempt()
    job.notebook.proofs.clear()
    second = job.attempt()
    assert second.digest == first.digest
    assert second.body != first.body


def test_an_earlier_statement_that_the_circuit_does_not_confirm_is_not_proven(job: Job) -> None:
    """The outputs of a pass that is done anew are compared with what was stated, before anything is proven."""
    answer = statements.Answer(
        issuer=key_id(KEY.public_key()),
        nonce=job.order.nonce,
        audience=job.order.audience,
        mode=job.order.mode,
        issued_at=datetime.now(UTC),
    )
    job.notebook.stated = statements.of_circuit(
        answer, job.package.manifest, job.order.inputs, {"body": (1, 2)}, {}
    )
    with pytest.raises(CouldNotCheck) as caught:
        job.attempt()
    assert caught.value.code == "circuit-inconsistent"
    assert job.notebook.proofs == {}


def test_a_bad_proof_is_never_released(job: Job) -> None:
    """A fresh process verifies what leaves: one changed byte, and there is no receipt."""
    job.attempt()
    [(kind, evidence)] = job.notebook.proofs.items()
    proof = bytearray(Proof.model_validate_json(evidence).data)
    proof[len(proof) // 2] ^= 1
    job.notebook.proofs[kind] = Proof.of(bytes(proof)).canonical()
    with pytest.raises(Rejected, match="proof-invalid"):
        job.attempt()
