"""The database's tables (SQLAlchemy Core); ``migrations/`` builds the same ones, which a test compares.

Times are seconds since 1970 in UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    # "prove" or "build"; a build has no mode and no nonce (empty texts), and no circuit until it has succeeded.
    Column("kind", String(8), nullable=False, server_default="prove"),
    Column("model", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("circuit", String(64), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("nonce", String(64), nullable=False),
    Column("audience", String(1024)),
    # JSON: the input's integers, or what a build was asked for; removed when the job ends.
    Column("inputs", LargeBinary),
    Column("state", String(16), nullable=False),
    Column("code", String(64)),
    # What the client can do about it; nothing of the service's own troubles.
    Column("detail", String(2000)),
    Column("cancel_requested", Integer, nullable=False),
    Column("token", Integer, nullable=False),
    Column("lease_until", Float),
    # Written once, before any signature or proof.
    Column("statement", LargeBinary),
    Column("receipt_digest", String(64)),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Index("jobs_by_state", "state", "created_at"),
)

proofs = Table(
    "proofs",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id"), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("evidence", LargeBinary, nullable=False),
)
"""Finished proofs that are not released yet; the first one of a kind wins."""

receipts = Table(
    "receipts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("proof", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("request", String(64), nullable=False),
    Column("job", String(32), ForeignKey("jobs.id")),
    Column("receipt", String(64), ForeignKey("receipts.digest")),
    Column("created_at", Float, nullable=False),
    CheckConstraint("(job IS NULL) <> (receipt IS NULL)", name="idempotency_leads_somewhere"),
)
"""Which answer a client's key led to; key and request are SHA-256 digests."""
