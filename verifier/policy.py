"""The policy: everything a verifier trusts, pinned beforehand.

Takes the bytes of ``policy.json``, plain or in a DSSE envelope by the model owner, and gives a `TrustedPolicy`.
Nothing that a server sends may widen it; what is absent is not trusted; an empty list accepts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from . import dsse, keys, strict_json
from .digest import is_hex32
from .dsse import Envelope
from .errors import Malformed, Rejected
from .wire import Hex32, Instant, Items, Name, Positive, Text, Wire, format_time, parse_time, validate

POLICY_TYPE = "urn:verinfer:policy:v1"
POLICY_PAYLOAD_TYPE = "application/vnd.verinfer.policy.v1+json"
POLICY_LIMIT = 4 << 20
FIRST_USE_TYPE = "urn:verinfer:first-use:v1"

Requirement = Literal["signature", "proof", "quote"]
System = Literal["ezkl-halo2-kzg", "verinfer-sc-1"]
DEFAULT_SYSTEMS: tuple[System, ...] = ("ezkl-halo2-kzg",)
Relaxation = Literal["allow_insecure_srs", "allow_simulated_tee"]
Origin = Literal["local", "owner", "owner-not-pinned", "operator"]


class CircuitPin(Wire):
    """One accepted circuit; ``reproduced`` only if somebody rebuilt it from the ONNX (`verinfer reproduce`)."""

    digest: Hex32
    model_checked: Literal["reproduced", "trusted"]


def _is_no_digest(name: str) -> str:
    # A model named like another's digest would be taken for that other one.
    if is_hex32(name):
        raise ValueError("a model's name looks like a digest")
    return name


class ModelPin(Wire):
    """One accepted model, its accepted circuits and its accepted fp32 runtimes (``"onnxruntime 1.32.0"``)."""

    name: Annotated[Name, AfterValidator(_is_no_digest)]
    onnx: Hex32
    circuits: Items[CircuitPin]
    runtimes: Items[Annotated[Text, StringConstraints(pattern="^onnxruntime ")]]

    @model_validator(mode="after")
    def _no_repeats(self) -> ModelPin:
        _refuse_repeats("circuits", [pin.digest for pin in self.circuits])
        _refuse_repeats("runtimes", self.runtimes)
        return self

    def is_called(self, text: str) -> bool:
        """Whether `text`, a name or an ONNX digest, means this model."""
        return text == (self.onnx if is_hex32(text) else self.name)

    def circuit(self, digest: str) -> CircuitPin | None:
        """The pin of this circuit, if there is one."""
        return next((pin for pin in self.circuits if pin.digest == digest), None)


def _is_key(text: str) -> str:
    keys.decode_public(text)
    return text


class IssuerPin(Wire):
    """A service key (base64 SPKI) and when it is valid: from `valid_from` up to, not including, `valid_until`."""

    key: Annotated[str, StringConstraints(strict=True, max_length=128), AfterValidator(_is_key)]
    valid_from: Instant
    valid_until: Instant

    @model_validator(mode="after")
    def _window(self) -> IssuerPin:
        if parse_time(self.valid_from) >= parse_time(self.valid_until):
            raise ValueError("valid_from is not before valid_until")
        return self

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The key itself."""
        return keys.decode_public(self.key)

    @property
    def id(self) -> str:
        """The key's id, as statements name their issuer."""
        return keys.key_id(self.public_key)


def _refuse_repeats(what: str, items: Sequence[str]) -> None:
    if len(set(items)) != len(items):
        raise ValueError(f"{what} repeat")


class Revoked(Wire):
    """What was accepted once and is not any more: "revoked" is not "unknown"."""

    issuers: Items[Hex32]
    circuits: Items[Hex32]
    models: Items[Hex32]


class Policy(Wire):
    """A verifier's pins; every field is required, but for `proof_systems`: without it EZKL alone is accepted."""

    type: Literal["urn:verinfer:policy:v1"]
    serial: Positive
    valid_until: Instant
    models: Annotated[Items[ModelPin], Field(min_length=1)]
    issuers: Annotated[Items[IssuerPin], Field(min_length=1)]
    require: Annotated[Items[Requirement], Field(min_length=1)]
    max_age: Annotated[Positive, Field(le=10**10)]
    revoked: Revoked
    relaxations: Items[Relaxation]
    proof_systems: Annotated[Items[System], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _no_repeats(self) -> Policy:
        _refuse_repeats("models", [pin.onnx for pin in self.models])
        _refuse_repeats("model names", [pin.name for pin in self.models])
        _refuse_repeats("issuers", [pin.id for pin in self.issuers])
        _refuse_repeats("require", self.require)
        _refuse_repeats("relaxations", self.relaxations)
        _refuse_repeats("proof_systems", self.accepted_systems)
        return self

    @property
    def accepted_systems(self) -> tuple[System, ...]:
        """The proof systems whose circuits count."""
        return self.proof_systems or DEFAULT_SYSTEMS

    def issuer(self, key_id: str) -> IssuerPin | None:
        """The pin of this key, if there is one."""
        return next((pin for pin in self.issuers if pin.id == key_id), None)

    def model(self, onnx: str) -> ModelPin | None:
        """The pin of this ONNX digest, if there is one."""
        return next((pin for pin in self.models if pin.onnx == onnx), None)


class FirstUse(Wire):
    """A policy as the operator offered it, kept with the mark that it came from there, and when."""

    type: Literal["urn:verinfer:first-use:v1"]
    taken_at: Instant
    policy: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrustedPolicy:
    """A policy together with why it is trusted.

    ``local``: the caller wrote it; ``owner``: signed by the owner the caller pinned; ``owner-not-pinned``: signed, but the
    caller named no owner to check; ``operator``: taken from the service on first use. The last two are caveats in a verdict.
    """

    policy: Policy
    origin: Origin


def parse_policy(data: bytes, *, owner: Ed25519PublicKey | None = None) -> TrustedPolicy:
    """Read a policy, plain, enveloped, or kept from first use; with `owner`, only one signed by that key.

    The mark of first use ends with the owner's signature, and with nothing else.
    Raises `Malformed` (``policy-malformed``, ``envelope-malformed``, …) or `Rejected` (``policy-signature-invalid``).
    """
    value = strict_json.parse(data, limit=POLICY_LIMIT, what="policy")
    if isinstance(value, dict) and value.get("type") == FIRST_USE_TYPE:
        kept = _read(validate(FirstUse, value, code="policy-malformed").policy, owner)
        return kept if kept.origin == "owner" else TrustedPolicy(kept.policy, "operator")
    return _read(value, owner)


def _read(value: Any, owner: Ed25519PublicKey | None) -> TrustedPolicy:
    if not isinstance(value, dict) or "payload" not in value:
        if owner is not None:
            raise Rejected("policy-signature-invalid", "The policy is not signed, and an owner is pinned.")
        return TrustedPolicy(validate(Policy, value, code="policy-malformed"), "local")
    envelope = validate(Envelope, value, code="envelope-malformed")
    if envelope.payload_type != POLICY_PAYLOAD_TYPE:
        raise Malformed("envelope-malformed", f"The payload's type is not {POLICY_PAYLOAD_TYPE}.")
    if owner is not None and not dsse.verifies(envelope, owner):
        raise Rejected("policy-signature-invalid")
    policy = validate(
        Policy, strict_json.parse(envelope.body, limit=POLICY_LIMIT, what="policy"), code="policy-malformed"
    )
    return TrustedPolicy(policy, "owner-not-pinned" if owner is None else "owner")


def mark_first_use(data: bytes, *, at: datetime) -> bytes:
    """A policy that the service offered, marked so that it stays the operator's word whenever it is read again.

    Raises what `parse_policy` raises, and `Malformed` for one that is marked already.
    """
    value = strict_json.parse(data, limit=POLICY_LIMIT, what="policy")
    _read(value, None)
    return strict_json.canonical({"type": FIRST_USE_TYPE, "taken_at": format_time(at), "policy": value})


def sign_policy(policy: Policy, key: Ed25519PrivateKey) -> bytes:
    """The policy in an envelope by the model owner's key, to hand out."""
    return dsse.sign(policy.canonical(), POLICY_PAYLOAD_TYPE, key).canonical()
