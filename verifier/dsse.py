"""DSSE envelopes with exactly one Ed25519 signature.

Source: Dead Simple Signing Envelope v1.0.2, protocol.md and envelope.md.
The signature covers the payload's type and bytes (PAE), so nothing is canonicalised before checking.
"""

from __future__ import annotations

import base64
from typing import Annotated

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, StringConstraints, model_validator

from . import keys
from .wire import Hex32, Items, Text, Wire

Base64 = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


class Signature(Wire):
    """One signature; `keyid` is a hint that is checked, never trusted."""

    keyid: Hex32
    sig: Base64


class Envelope(Wire):
    """A payload with one signature; `payload` is strict base64."""

    payload: Base64
    payload_type: Text = Field(alias="payloadType")
    signatures: Annotated[Items[Signature], Field(min_length=1, max_length=1)]

    @model_validator(mode="after")
    def _strict_base64(self) -> Envelope:
        for text in (self.payload, self.signatures[0].sig):
            if base64.b64encode(base64.b64decode(text, validate=True)).decode("ascii") != text:
                raise ValueError("base64 is not canonical")
        return self

    @property
    def body(self) -> bytes:
        """The payload's bytes, not yet verified."""
        return base64.b64decode(self.payload)

    @property
    def signer(self) -> str:
        """The key id that the envelope claims."""
        return self.signatures[0].keyid


def pae(payload_type: str, body: bytes) -> bytes:
    """Pre-authentication encoding: what is signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def sign(body: bytes, payload_type: str, key: Ed25519PrivateKey) -> Envelope:
    """Wrap `body` and sign it."""
    signature = key.sign(pae(payload_type, body))
    return Envelope.model_validate(
        {
            "payload": base64.b64encode(body).decode("ascii"),
            "payloadType": payload_type,
            "signatures": [
                {
                    "keyid": keys.key_id(key.public_key()),
                    "sig": base64.b64encode(signature).decode("ascii"),
                }
            ],
        }
    )


def verifies(envelope: Envelope, key: Ed25519PublicKey) -> bool:
    """Whether the one signature is `key`'s over exactly these bytes; the caller raises its own error."""
    try:
        key.verify(base64.b64decode(envelope.signatures[0].sig), pae(envelope.payload_type, envelope.body))
    except InvalidSignature:
        return False
    return envelope.signer == keys.key_id(key)
