"""Receipts in the database, by statement digest. A receipt leaves the service only after its commit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as insert_or_keep

from . import idempotency
from .database import Database
from .errors import Refused
from .idempotency import Key, Known
from .tables import receipts

ProofState = Literal["none", "ready"]
"""Of a receipt's proof: none was asked for, or it is in the receipt."""


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A receipt's bytes and what is said about it beside them."""

    digest: str
    body: bytes = field(repr=False)
    proof: ProofState


class ReceiptStore:
    """All receipts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, digest: str, body: bytes, *, now: float, key: Key | None = None) -> Known:
        """Store a receipt that needs no proof; or give what `key` led to before.

        Raises `Refused` (``idempotency-key-reused``).
        """
        with self._database.write() as connection:
            known = idempotency.recall(connection, key)
            if known is not None:
                return known
            insert(connection, digest, body, proof="none", now=now)
            idempotency.remember(connection, key, Known(None, digest), now=now)
            return Known(None, digest)

    def get(self, digest: str) -> StoredReceipt:
        """The receipt; raises `Refused` (``receipt-unknown``)."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(receipts).where(receipts.c.digest == digest)).one_or_none()
        if row is None:
            raise Refused("receipt-unknown")
        return StoredReceipt(row.digest, row.body, row.proof)

    def recall(self, key: Key | None) -> Known | None:
        """What `key` led to before; raises `Refused` (``idempotency-key-reused``)."""
        if key is None:
            return None
        with self._database.read() as connection:
            return idempotency.recall(connection, key)


def insert(connection: sa.Connection, digest: str, body: bytes, *, proof: ProofState, now: float) -> None:
    """Add one receipt inside the caller's transaction.

    The same statement made twice (same request, nonce and second) has the same digest; the first receipt stays.
    """
    statement = insert_or_keep(receipts).values(digest=digest, body=body, proof=proof, created_at=now)
    connection.execute(statement.on_conflict_do_nothing())
