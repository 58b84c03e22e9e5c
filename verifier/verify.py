"""Verification of a receipt: the numbered steps of the design's section 4, in their normative order.

::

    1  size limits, strict parse
    2  policy valid at `now`, serial not below the smallest accepted
    3  signature by a pinned issuer, valid at issued_at
    4  nonce, audience and mode as expected; issued_at within max_age
    5  model, circuit or runtime pinned and not revoked; tensors as in the manifest; local files have the pinned digests
    6  the caller's sample, quantised, equals the statement's input
    7  instances built from statement and manifest            (with step 8, in the proof system)
    8  each proof, in a limited child
    9  each quote
    10 what the policy requires was verified in this run
    11 claims and caveats from what passed

The first failing step gives the error, so the order is part of the interface.
Pure but for the children of step 8: bytes in, value out; no clock, no socket, no environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite

from . import dsse, numbers, preprocess
from .bundle import Bundle, Bundles, open_bundle
from .digest import is_hex32, salt_limbs
from .errors import Malformed, Rejected, UsageError
from .evidence import Evidence
from .manifest import Manifest, Tensor, Visibility
from .policy import CircuitPin, ModelPin, Policy, TrustedPolicy
from .proof_systems import SYSTEMS, ProofSystem
from .quantise import to_integers
from .receipt import Receipt, parse_receipt
from .statement import HashedTensor, InputTensor, Mode, Predicate, Statement, TensorValue
from .sumcheck_system import SumcheckSystem
from .verdict import Caveat, Claim, Input, Output, Verified
from .wire import parse_time

CLOCK_SKEW = timedelta(seconds=60)
"""How far ahead of the verifier's clock an issuer's may be (design, section 4, step 4)."""

_LATER_PROOF: tuple[Mode, ...] = ("tee+zk", "tee+proof")
_ZERO_KNOWLEDGE: tuple[Mode, ...] = ("zk", "tee+zk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What the caller asked for; what is absent becomes a caveat.

    `model` is a name or an ONNX digest; `sample` is raw, by input name, flat, and `salt` the one that was sent with it where the
    circuit hashes its inputs; `visibility` is what the circuit that was asked shows of its inputs: an answer by one that shows
    more or less is another answer; `past` says that `now` is a stated past time.
    """

    model: str | None = None
    nonce: str | None = None
    audience: str | None = None
    mode: Mode | None = None
    sample: Mapping[str, Sequence[float | int]] | None = None
    salt: str | None = field(default=None, repr=False)
    visibility: Visibility | None = None
    min_serial: int = 1
    past: bool = False


@dataclass(frozen=True, slots=True)
class _Pinned:
    model: ModelPin
    circuit: CircuitPin | None
    bundle: Bundle


def verify(
    data: bytes,
    *,
    policy: TrustedPolicy,
    now: datetime,
    expect: Expect,
    bundles: Bundles,
    proof_systems: Mapping[str, ProofSystem] = SYSTEMS,
) -> Verified:
    """Verify the receipt in `data` and return what is known because of it.

    `now` is timezone-aware. Raises `Malformed`, `Rejected`, `CouldNotCheck` or `UsageError`; there is no other failure.
    """
    receipt = parse_receipt(data)  # (1)
    _check_policy(policy.policy, now, expect)  # (2)
    _check_signature(receipt, policy.policy)  # (3)
    _check_request(receipt.statement.predicate, policy.policy, now, expect)  # (4)
    pinned = _check_pins(receipt.statement.predicate, policy.policy, expect, bundles)  # (5)
    if expect.sample is not None or expect.salt is not None:
        _check_sample(receipt.statement.predicate, pinned.bundle.manifest, expect, proof_systems)  # (6)
    verified = _check_evidence(receipt, pinned, proof_systems)  # (7) (8) (9)
    _check_required(policy.policy, verified)  # (10)
    return _conclude(receipt, policy, now, expect, pinned, verified)  # (11)


def _check_policy(policy: Policy, now: datetime, expect: Expect) -> None:
    if now >= parse_time(policy.valid_until):
        raise Rejected("policy-expired", f"The policy was valid until {policy.valid_until}; get a newer one.")
    if policy.serial < expect.min_serial:
        raise Rejected(
            "policy-rollback",
            f"The policy's serial is {policy.serial}, the least accepted {expect.min_serial}.",
        )


def _check_signature(receipt: Receipt, policy: Policy) -> None:
    signer, predicate = receipt.envelope.signer, receipt.statement.predicate
    pin = policy.issuer(signer)
    if signer in policy.revoked.issuers:
        raise Rejected("issuer-revoked")
    if pin is None:
        raise Rejected("issuer-unknown", f"The key {signer} is not in the policy.")
    if not dsse.verifies(receipt.envelope, pin.public_key):
        raise Rejected("signature-invalid")
    if predicate.issuer != signer:
        raise Rejected("issuer-mismatch")
    if not parse_time(pin.valid_from) <= parse_time(predicate.issued_at) < parse_time(pin.valid_until):
        raise Rejected("issuer-not-valid-then")


def _check_request(predicate: Predicate, policy: Policy, now: datetime, expect: Expect) -> None:
    if expect.nonce is not None and predicate.nonce != expect.nonce:
        raise Rejected("nonce-mismatch")
    if expect.audience is not None and predicate.audience != expect.audience:
        raise Rejected("audience-mismatch")
    if expect.mode is not None and predicate.mode != expect.mode:
        raise Rejected("mode-mismatch", f"The statement's mode is {predicate.mode}, not {expect.mode}.")
    issued_at = parse_time(predicate.issued_at)
    if issued_at - now > CLOCK_SKEW:
        raise Rejected("issued-in-future")
    if now - issued_at > timedelta(seconds=policy.max_age):
        raise Rejected("too-old", f"Issued at {predicate.issued_at}; the policy accepts {policy.max_age} s.")


def _check_pins(predicate: Predicate, policy: Policy, expect: Expect, bundles: Bundles) -> _Pinned:
    if expect.model is None and len(policy.models) > 1:
        raise UsageError("model-ambiguous", "The policy pins several models: say which one you asked.")
    if predicate.model.onnx in policy.revoked.models:
        raise Rejected("model-revoked")
    model = policy.model(predicate.model.onnx)
    if model is None or model.name != predicate.model.name:
        raise Rejected(
            "model-not-pinned", f"The policy has no model {predicate.model.name} with that ONNX digest."
        )
    if expect.model is not None and not model.is_called(expect.model):
        raise Rejected("model-mismatch", f"The statement is about {model.name}, not {expect.model}.")
    circuit = _pinned_circuit(predicate, policy, model)
    bundle = open_bundle(bundles.read(circuit.digest), circuit.digest)
    _check_system(predicate, policy, bundle)
    manifest, system = bundle.manifest, bundle.manifest.proof_system
    if manifest.model != predicate.model:
        raise Rejected("tensors-mismatch", "The statement's model is not the one of the manifest.")
    by_circuit = predicate.runtime.kind == "circuit"
    if by_circuit and predicate.runtime.version != system.runtime:
        raise Rejected("runtime-not-pinned", "The statement's runtime is not the one of the manifest.")
    if expect.visibility not in (None, manifest.visibility):
        raise Rejected(
            "visibility-mismatch", f"The circuit's inputs are {manifest.visibility}, not {expect.visibility}."
        )
    _check_tensors(predicate.input, manifest.tensors("input"), system.input_range if by_circuit else None)
    bounds = (1 - system.bound, system.bound - 1) if by_circuit else None
    _check_tensors(predicate.output, manifest.tensors("output"), bounds)
    return _Pinned(model, circuit if by_circuit else None, bundle)


def _check_system(predicate: Predicate, policy: Policy, bundle: Bundle) -> None:
    """Raise unless the policy takes proofs of the circuit's system, with its SRS, and the mode promises no more than they are."""
    if bundle.insecure_srs and "allow_insecure_srs" not in policy.relaxations:
        raise Rejected("insecure-srs")
    system = bundle.manifest.proof_system
    if system.name not in policy.accepted_systems:
        raise Rejected(
            "proof-system-not-accepted",
            f"The circuit is of {system.name}, which the policy's owner has not named in proof_systems; it accepts"
            f" {', '.join(policy.accepted_systems)}.",
        )
    if isinstance(system, SumcheckSystem) and predicate.mode in _ZERO_KNOWLEDGE:
        raise Rejected(
            "not-zero-knowledge",
            f"The mode {predicate.mode} promises a zero-knowledge proof, and {system.name} makes none: ask for proof.",
        )


def _pinned_circuit(predicate: Predicate, policy: Policy, model: ModelPin) -> CircuitPin:
    """The statement's circuit; for an fp32 answer the first accepted one, whose manifest describes the tensors."""
    if predicate.circuit is not None:
        if predicate.circuit in policy.revoked.circuits:
            raise Rejected("circuit-revoked")
        pin = model.circuit(predicate.circuit)
        if pin is None:
            raise Rejected("circuit-not-pinned")
        return pin
    if predicate.runtime.version not in model.runtimes:
        raise Rejected(
            "runtime-not-pinned", f"The policy does not accept {predicate.runtime.version} for {model.name}."
        )
    usable = [pin for pin in model.circuits if pin.digest not in policy.revoked.circuits]
    if not usable:
        raise Rejected(
            "circuit-not-pinned", "No circuit of this model is accepted, so nothing describes its tensors."
        )
    return usable[0]


def _check_tensors(
    actual: Sequence[InputTensor], pinned: Sequence[Tensor], bounds: tuple[int, int] | None
) -> None:
    if [tensor.name for tensor in actual] != [tensor.name for tensor in pinned]:
        raise Rejected("tensors-mismatch", "Other tensors, or another order, than in the manifest.")
    for mine, theirs in zip(pinned, actual, strict=True):
        for what in ("shape", "dtype", "visibility"):
            if getattr(mine, what) != getattr(theirs, what):
                raise Rejected(
                    "tensors-mismatch", f"{mine.name}: another {what} than in the manifest.", field=mine.name
                )
        if not isinstance(theirs, TensorValue):
            continue
        if isinstance(theirs.value, str) and not all(
            map(isfinite, numbers.decode(theirs.value, theirs.dtype))
        ):
            raise Rejected("tensors-mismatch", f"{mine.name}: NaN or infinity is no answer.", field=mine.name)
        if bounds is not None and any(not bounds[0] <= value <= bounds[1] for value in _integers(theirs)):
            raise Rejected(
                "tensors-mismatch", f"{mine.name}: a value is beyond the circuit's range.", field=mine.name
            )


def _check_sample(
    predicate: Predicate, manifest: Manifest, expect: Expect, systems: Mapping[str, ProofSystem]
) -> None:
    sample, salt = _comparable(manifest, expect)
    preprocess.check_names(manifest.inputs, sample)
    hashed: dict[str, tuple[int, ...]] = {}
    for tensor, spec, claimed in zip(
        manifest.tensors("input"), manifest.inputs, predicate.input, strict=True
    ):
        values = preprocess.to_input(spec, sample[spec.name], manifest.samples)
        integers = to_integers(manifest, tensor, values)
        if isinstance(claimed, TensorValue):
            mine = numbers.encode(values, tensor.dtype) if isinstance(claimed.value, str) else integers
            if mine != claimed.value:
                raise Rejected("input-mismatch", field=spec.name)
        else:
            hashed[spec.name] = (*integers, *salt_limbs(salt, spec.name))
    if hashed:
        kind = f"proof/{manifest.proof_system.name}"
        if kind not in systems:
            raise Rejected("evidence-unsupported", f"Nothing here makes the hashes of {kind}.", field=kind)
        found = systems[kind].hash_tensors(list(hashed.values()))
        stated = {tensor.name: tensor.hash for tensor in predicate.input if isinstance(tensor, HashedTensor)}
        for name, mine in zip(hashed, found, strict=True):
            if mine != stated[name]:
                raise Rejected(
                    "input-mismatch", "The hash in the statement is not of this input and salt.", field=name
                )


def _comparable(manifest: Manifest, expect: Expect) -> tuple[Mapping[str, Sequence[float | int]], str]:
    """The caller's sample, and its salt or nothing, if this circuit's statements say enough to compare them with.

    Raises `Rejected`: who gives them asked a circuit that shows its input so. Raises `UsageError` where one of the two lacks.
    """
    if manifest.visibility == "private":
        raise Rejected(
            "input-undisclosed",
            "The statement tells nothing of its input: whether it was yours, nobody can say.",
        )
    if manifest.visibility == "public" and expect.salt is not None:
        raise Rejected("visibility-mismatch", "You gave a salt, and this circuit does not hash its input.")
    if expect.sample is None or (manifest.visibility == "hashed" and expect.salt is None):
        raise UsageError(
            "usage", "This circuit shows a hash of its input: give the sample and its salt, or neither."
        )
    if expect.salt is not None and not is_hex32(expect.salt):
        raise Malformed("salt-malformed")
    return expect.sample, expect.salt or ""


def _check_evidence(receipt: Receipt, pinned: _Pinned, systems: Mapping[str, ProofSystem]) -> tuple[str, ...]:
    # Proofs before quotes; by name within each, so that a receipt's own order decides nothing.
    for kind, evidence in sorted(
        receipt.evidence.items(), key=lambda item: (not item[0].startswith("proof/"), item[0])
    ):
        if kind.startswith("proof/"):
            _check_proof(kind, evidence, receipt.statement, pinned, systems)
        else:
            raise Rejected("evidence-unsupported", f"This version cannot check {kind}.", field=kind)
    return tuple(sorted(receipt.evidence))


def _check_proof(
    kind: str, evidence: Evidence, statement: Statement, pinned: _Pinned, systems: Mapping[str, ProofSystem]
) -> None:
    if statement.predicate.runtime.kind != "circuit":
        raise Rejected("proof-for-wrong-runtime", field=kind)
    if kind not in systems or kind != f"proof/{pinned.bundle.manifest.proof_system.name}":
        raise Rejected("evidence-unsupported", f"This circuit has no proofs of the kind {kind}.", field=kind)
    systems[kind].check(statement, pinned.bundle, evidence)


def _check_required(policy: Policy, verified: Sequence[str]) -> None:
    # The signature always verified (step 3). A mode satisfies nothing, not even "the proof comes later": it is the
    # operator's word, and until a quote can stand in for the proof nothing does.
    for requirement in policy.require:
        if requirement == "signature" or any(kind.startswith(f"{requirement}/") for kind in verified):
            continue
        raise Rejected(
            "evidence-missing",
            f"The policy requires a {requirement}; the receipt has none.",
            field=requirement,
        )


def _conclude(
    receipt: Receipt,
    policy: TrustedPolicy,
    now: datetime,
    expect: Expect,
    pinned: _Pinned,
    verified: Sequence[str],
) -> Verified:
    predicate, manifest = receipt.statement.predicate, pinned.bundle.manifest
    outputs = tuple(
        _output(manifest, tensor, index, claimed)
        for index, (tensor, claimed) in enumerate(
            zip(manifest.tensors("output"), predicate.output, strict=True)
        )
    )
    labels, tied = (
        (None, False) if manifest.labels is None else preprocess.to_labels(manifest.labels, outputs[0].values)
    )
    proven = any(kind.startswith("proof/") for kind in verified)
    return Verified(
        statement_digest=receipt.statement.digest,
        model=predicate.model,
        circuit=predicate.circuit,
        runtime=predicate.runtime.version,
        mode=predicate.mode,
        issuer=predicate.issuer,
        nonce=predicate.nonce,
        audience=predicate.audience,
        issued_at=parse_time(predicate.issued_at),
        samples=manifest.samples,
        inputs=tuple(
            Input(tensor.name, tensor.visibility, tensor.hash if isinstance(tensor, HashedTensor) else None)
            for tensor in predicate.input
        ),
        outputs=outputs,
        labels=labels,
        evidence=tuple(verified),
        claims=tuple(_claims(policy, expect, pinned, proven=proven)),
        caveats=tuple(
            _caveats(predicate, policy, now, expect, pinned, proven=proven)
            + ([Caveat.LABEL_TIED] if tied else [])
        ),
    )


def _reproduced(policy: TrustedPolicy, pinned: _Pinned) -> bool:
    """Whether somebody the caller trusts rebuilt the circuit: an operator's word for its own circuit is none."""
    return (
        pinned.circuit is not None
        and pinned.circuit.model_checked == "reproduced"
        and policy.origin != "operator"
    )


def _claims(policy: TrustedPolicy, expect: Expect, pinned: _Pinned, *, proven: bool) -> list[Claim]:
    claims = [Claim.SIGNED_BY_ISSUER]
    # Who makes an SRS can forge proofs: an operator that allows its own proves nothing with it.
    if proven and not (policy.origin == "operator" and pinned.bundle.insecure_srs):
        hidden = pinned.bundle.manifest.visibility == "private"
        claims.append(Claim.COMPUTED_ON_UNDISCLOSED_INPUT if hidden else Claim.COMPUTED_BY_CIRCUIT)
        if _reproduced(policy, pinned):
            claims.append(Claim.COMPUTED_BY_MODEL)
    if expect.nonce is not None:
        claims.append(Claim.FRESH_FOR_NONCE)
    if expect.sample is not None:
        claims.append(Claim.INPUT_IS_YOURS)
    return claims


def _caveats(
    predicate: Predicate,
    policy: TrustedPolicy,
    now: datetime,
    expect: Expect,
    pinned: _Pinned,
    *,
    proven: bool,
) -> list[Caveat]:
    overdue = predicate.prove_by is not None and now > parse_time(predicate.prove_by)
    later = predicate.mode in _LATER_PROOF
    visibility = pinned.bundle.manifest.visibility
    ours = isinstance(pinned.bundle.manifest.proof_system, SumcheckSystem)
    conditions = {
        Caveat.INSECURE_SRS: proven and pinned.bundle.insecure_srs,
        Caveat.MODEL_EQUIVALENCE_NOT_CHECKED: pinned.circuit is not None and not _reproduced(policy, pinned),
        # A proof that is promised is none.
        Caveat.NOT_PROVEN: not proven,
        Caveat.PROOF_PENDING: not proven and later and not overdue,
        Caveat.PROOF_OVERDUE: not proven and later and overdue,
        Caveat.NOT_ATTESTED: predicate.mode.startswith("tee"),
        Caveat.PROOF_SYSTEM_OPEN_RISKS: proven and not ours,
        Caveat.PROOF_SYSTEM_UNAUDITED: proven and ours,
        Caveat.INTEGRITY_ONLY_PROOF: proven and ours,
        Caveat.INPUT_NOT_AUTHENTICATED: True,
        Caveat.INPUT_NOT_CHECKED: expect.sample is None and visibility != "private",
        Caveat.INPUT_UNDISCLOSED: visibility == "private",
        Caveat.INPUT_PRIVATE_NOT_ZERO_KNOWLEDGE: visibility != "public",
        Caveat.NONCE_NOT_CHECKED: expect.nonce is None,
        Caveat.AUDIENCE_NOT_CHECKED: expect.audience is None and predicate.audience is not None,
        Caveat.MODE_NOT_CHECKED: expect.mode is None,
        Caveat.PAST_TIME: expect.past,
        Caveat.POLICY_FROM_OPERATOR: policy.origin == "operator",
        Caveat.POLICY_OWNER_NOT_PINNED: policy.origin == "owner-not-pinned",
    }
    return [caveat for caveat, holds in conditions.items() if holds]


def _output(manifest: Manifest, tensor: Tensor, index: int, claimed: TensorValue) -> Output:
    if isinstance(claimed.value, str):
        values: tuple[float | int, ...] = numbers.decode(claimed.value, claimed.dtype)
    else:
        values = tuple(numbers.dequantise(value, tensor.scale) for value in claimed.value)
    spec = manifest.outputs[index]
    read = preprocess.to_output(spec, values)
    if not all(map(isfinite, read)):
        raise Rejected("tensors-mismatch", f"{tensor.name}: NaN or infinity is no answer.", field=tensor.name)
    return Output(tensor.name, tensor.shape, read, spec.fields)


def _integers(tensor: TensorValue) -> tuple[int, ...]:
    return () if isinstance(tensor.value, str) else tensor.value
