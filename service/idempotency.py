"""Idempotency keys: the same key and request lead to the same answer, for ever; another request is refused.

Source: draft-ietf-httpapi-idempotency-key-header. Works inside the caller's transaction, so a key and what it led to are
stored together or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from verinfer.verifier.digest import sha256

from .errors import Refused
from .tables import idempotency

_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Key:
    """A client's key and the request that it came with, as SHA-256 digests: neither is stored in the clear."""

    key: str
    request: str


@dataclass(frozen=True, slots=True)
class Known:
    """What a key has led to: a job, or a receipt that needed none."""

    job: str | None
    receipt: str | None


def read_key(header: str | None, request: bytes) -> Key | None:
    """The key of a request, if it has one; raises `Refused` (``idempotency-key-malformed``)."""
    if header is None:
        return None
    if not 1 <= len(header) <= _LONGEST or not all("!" <= character <= "~" for character in header):
        raise Refused("idempotency-key-malformed", field="Idempotency-Key")
    key = header.encode("ascii")
    # With the key in it, which is not stored: a request that hides its input could be guessed from a bare digest.
    return Key(sha256(key), sha256(key + b"\n" + request))


def recall(connection: sa.Connection, key: Key | None) -> Known | None:
    """What the key led to before; raises `Refused` (``idempotency-key-reused``) if that was another request."""
    if key is None:
        return None
    row = connection.execute(sa.select(idempotency).where(idempotency.c.key == key.key)).one_or_none()
    if row is None:
        return None
    if row.request != key.request:
        raise Refused("idempotency-key-reused", field="Idempotency-Key")
    return Known(row.job, row.receipt)


def remember(connection: sa.Connection, key: Key | None, known: Known, *, now: float) -> None:
    """Store what the key leads to."""
    if key is not None:
        row = {
            "key": key.key,
            "request": key.request,
            "job": known.job,
            "receipt": known.receipt,
            "created_at": now,
        }
        connection.execute(sa.insert(idempotency).values(row))
