"""What a successful verification gives: only verified facts, the claims they support, and the caveats that remain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .manifest import ModelIdentity
from .statement import Mode


class Claim(StrEnum):
    """What holds, given the policy; the gloss is in `CLAIMS`."""

    COMPUTED_BY_CIRCUIT = "computed-by-circuit"
    COMPUTED_ON_UNDISCLOSED_INPUT = "computed-on-undisclosed-input"
    COMPUTED_BY_MODEL = "computed-by-model"
    FRESH_FOR_NONCE = "fresh-for-nonce"
    SIGNED_BY_ISSUER = "signed-by-issuer"
    INPUT_IS_YOURS = "input-is-yours"


class Caveat(StrEnum):
    """What does not hold, or was not checked; the gloss is in `CAVEATS`."""

    INSECURE_SRS = "insecure-srs"
    MODEL_EQUIVALENCE_NOT_CHECKED = "model-equivalence-not-checked"
    NOT_PROVEN = "not-proven"
    PROOF_PENDING = "proof-pending"
    PROOF_OVERDUE = "proof-overdue"
    NOT_ATTESTED = "not-attested"
    PROOF_SYSTEM_OPEN_RISKS = "proof-system-open-risks"
    PROOF_SYSTEM_UNAUDITED = "proof-system-unaudited"
    INTEGRITY_ONLY_PROOF = "integrity-only-proof"
    INPUT_NOT_AUTHENTICATED = "input-not-authenticated"
    INPUT_NOT_CHECKED = "input-not-checked"
    INPUT_UNDISCLOSED = "input-undisclosed"
    INPUT_PRIVATE_NOT_ZERO_KNOWLEDGE = "input-private-not-zero-knowledge"
    NONCE_NOT_CHECKED = "nonce-not-checked"
    AUDIENCE_NOT_CHECKED = "audience-not-checked"
    MODE_NOT_CHECKED = "mode-not-checked"
    LABEL_TIED = "label-tied"
    PAST_TIME = "past-time"
    POLICY_FROM_OPERATOR = "policy-from-operator"
    POLICY_OWNER_NOT_PINNED = "policy-owner-not-pinned"


CLAIMS: dict[Claim, str] = {
    Claim.COMPUTED_BY_CIRCUIT: "a proof shows that the pinned circuit gave exactly this output for the statement's input",
    Claim.COMPUTED_ON_UNDISCLOSED_INPUT: "a proof shows that the pinned circuit gives exactly this output for some input",
    Claim.COMPUTED_BY_MODEL: "the circuit was rebuilt from the pinned ONNX file, so it is that model, quantised",
    Claim.FRESH_FOR_NONCE: "the answer was made for your nonce and no other",
    Claim.SIGNED_BY_ISSUER: "a service key that you pinned signed it, dated within the key's validity",
    Claim.INPUT_IS_YOURS: "the input is the sample that you gave, quantised",
}

CAVEATS: dict[Caveat, str] = {
    Caveat.INSECURE_SRS: "INSECURE SRS: whoever made this SRS can forge proofs; for trials only",
    Caveat.MODEL_EQUIVALENCE_NOT_CHECKED: "nobody you trust has rebuilt the circuit from the ONNX file",
    Caveat.NOT_PROVEN: "no proof: the operator's word is all there is for the output",
    Caveat.PROOF_PENDING: "the proof that this mode promises is not there yet",
    Caveat.PROOF_OVERDUE: "the proof that this mode promises is overdue",
    Caveat.NOT_ATTESTED: "no quote: the mode promises trusted hardware, and nothing shows that there was any",
    Caveat.PROOF_SYSTEM_OPEN_RISKS: "EZKL and halo2 have open audit findings; later code is not audited",
    Caveat.PROOF_SYSTEM_UNAUDITED: "verinfer-sc/1 is ours and new, and nobody outside has audited it",
    Caveat.INTEGRITY_ONLY_PROOF: "the proof hides nothing: it may tell something of the weights, and of what they computed",
    Caveat.INPUT_NOT_AUTHENTICATED: "nothing says that the input is true of the world",
    Caveat.INPUT_NOT_CHECKED: "you gave no sample to compare the input with",
    Caveat.INPUT_UNDISCLOSED: "nothing says which input it was: the operator may have taken another than yours",
    Caveat.INPUT_PRIVATE_NOT_ZERO_KNOWLEDGE: "the input is hidden, but who can guess it may be able to confirm it by the proof",
    Caveat.NONCE_NOT_CHECKED: "you gave no nonce, so the answer may be an old one or somebody else's",
    Caveat.AUDIENCE_NOT_CHECKED: "the statement names an audience and you named none",
    Caveat.MODE_NOT_CHECKED: "you did not say which mode you asked for",
    Caveat.LABEL_TIED: "two labels have the same score; the first was taken",
    Caveat.PAST_TIME: "judged at a past time that you stated, not now",
    Caveat.POLICY_FROM_OPERATOR: "the policy came from the operator on first use: the operator chose what you trust",
    Caveat.POLICY_OWNER_NOT_PINNED: "the policy is signed, but you named no owner key to check that with",
}


@dataclass(frozen=True, slots=True)
class Output:
    """One output tensor, in the units that people read; `fields` names the values of one sample."""

    name: str
    shape: tuple[int, ...]
    values: tuple[float, ...]
    fields: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Input:
    """What an answer shows of one input tensor; `hash` is there where it is hashed, a BN254 scalar, big-endian."""

    name: str
    visibility: str
    hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Verified facts about one answer; made by `verify.verify` and nothing else."""

    statement_digest: str
    model: ModelIdentity
    circuit: str | None
    runtime: str
    mode: Mode
    issuer: str
    nonce: str
    audience: str | None
    issued_at: datetime
    samples: int
    """How many the answer covers; each is a row of every output."""
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    labels: tuple[str, ...] | None
    """Of each sample, where the model has labels."""
    evidence: tuple[str, ...]
    claims: tuple[Claim, ...]
    caveats: tuple[Caveat, ...]
