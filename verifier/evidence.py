"""Kinds of evidence: what each carries on the wire, told apart by the kind's name.

A new proof system registers its wire type in `KINDS` and its check in `proof_systems`; statement and policy do not change.
A kind that is reserved stays unread, and verification refuses it at its place: nothing is skipped.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any

from pydantic import Field, model_validator

from .dsse import Base64
from .errors import Malformed
from .wire import Wire, validate

EZKL_KIND = "proof/ezkl-halo2-kzg"
SUMCHECK_KIND = "proof/verinfer-sc-1"

RESERVED_KINDS = frozenset(
    {
        "quote/tdx",
        "quote/sgx",
        "quote/sev-snp",
        "quote/nitro",
        "quote/tpm2",
        "quote/azure-snp-vtpm",
        "quote/azure-tdx-vtpm",
        "quote/nvidia-gpu",
        "quote/simulated",
        "log/tlog-tiles",
        "timestamp/rfc3161",
    }
)
"""Kinds that the format names and this version cannot check."""


class Evidence(Wire):
    """Something that binds a statement's digest."""


class Proof(Evidence):
    """A proof of any system, base64, without instances: the verifier builds those itself."""

    proof: Annotated[Base64, Field(min_length=4)]

    @model_validator(mode="after")
    def _strict_base64(self) -> Proof:
        if base64.b64encode(self.data).decode("ascii") != self.proof:
            raise ValueError("base64 is not canonical")
        return self

    @property
    def data(self) -> bytes:
        """The proof's bytes."""
        return base64.b64decode(self.proof, validate=True)

    @classmethod
    def of(cls, data: bytes) -> Proof:
        """Evidence that carries these proof bytes."""
        return cls(proof=base64.b64encode(data).decode("ascii"))


class Unreadable(Evidence):
    """Evidence of a reserved kind; its content is not read."""


KINDS: dict[str, type[Evidence]] = {EZKL_KIND: Proof, SUMCHECK_KIND: Proof}


def parse_evidence(kind: str, item: dict[str, Any]) -> Evidence:
    """Read one piece of evidence; raises `Malformed` (``evidence-malformed``) for an unknown kind or wrong fields."""
    if kind in RESERVED_KINDS:
        return Unreadable()
    if kind not in KINDS:
        raise Malformed("evidence-malformed", f"There is no evidence of the kind {kind[:64]!a}.")
    return validate(KINDS[kind], item, code="evidence-malformed")
