"""The receipt: a signed statement, and the evidence that has been gathered for it so far.

Takes the bytes of ``application/vnd.verinfer.receipt.v1+json`` and gives a `Receipt`; parsing believes nothing.
Each kind of evidence is there at most once, binds the statement's digest, and must verify or the receipt is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import field_validator

from . import strict_json
from .dsse import Envelope
from .errors import Malformed
from .evidence import Evidence, parse_evidence
from .statement import PAYLOAD_TYPE, Statement, parse_statement
from .wire import Wire, validate

MEDIA_TYPE = "application/vnd.verinfer.receipt.v1+json"
RECEIPT_LIMIT = 32 << 20


MOST_KINDS = 64


class _Receipt(Wire):
    envelope: dict[str, Any]
    evidence: dict[str, Any]

    @field_validator("evidence")
    @classmethod
    def _few_objects(cls, evidence: dict[str, Any]) -> dict[str, Any]:
        # Found here one at a time: an error for each of millions would fill the memory.
        if len(evidence) > MOST_KINDS:
            raise ValueError(f"more than {MOST_KINDS} kinds of evidence")
        for kind, item in evidence.items():
            if not isinstance(item, dict):
                raise ValueError(f"{kind[:64]!a} is not an object")  # noqa: TRY004 - pydantic takes a ValueError
        return evidence


@dataclass(frozen=True, slots=True)
class Receipt:
    """A parsed receipt; nothing in it has been verified."""

    envelope: Envelope
    statement: Statement
    evidence: Mapping[str, Evidence]


def parse_receipt(data: bytes) -> Receipt:
    """Read a receipt; raises `Malformed` with the code of the part that is wrong."""
    wire = validate(
        _Receipt, strict_json.parse(data, limit=RECEIPT_LIMIT, what="receipt"), code="receipt-malformed"
    )
    envelope = validate(Envelope, wire.envelope, code="envelope-malformed")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Malformed("envelope-malformed", f"The payload's type is not {PAYLOAD_TYPE}.")
    return Receipt(
        envelope=envelope,
        statement=parse_statement(envelope.body),
        evidence={kind: parse_evidence(kind, item) for kind, item in wire.evidence.items()},
    )


def encode_receipt(envelope: Envelope, evidence: Mapping[str, Evidence]) -> bytes:
    """The bytes of a receipt, in RFC 8785 form."""
    body = {
        "envelope": envelope.to_json(),
        "evidence": {kind: item.to_json() for kind, item in evidence.items()},
    }
    return strict_json.canonical(body)
