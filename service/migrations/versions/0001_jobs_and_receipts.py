"""Jobs, their proofs, receipts and idempotency keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first four tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("circuit", sa.String(64), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("audience", sa.String(1024)),
        sa.Column("inputs", sa.LargeBinary),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64)),
        sa.Column("cancel_requested", sa.Integer, nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("lease_until", sa.Float),
        sa.Column("statement", sa.LargeBinary),
        sa.Column("receipt_digest", sa.String(64)),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "created_at"])
    op.create_table(
        "proofs",
        sa.Column("job", sa.String(32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("kind", sa.String(64), primary_key=True),
        sa.Column("evidence", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "receipts",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("proof", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("job", sa.String(32), sa.ForeignKey("jobs.id")),
        sa.Column("receipt", sa.String(64), sa.ForeignKey("receipts.digest")),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.CheckConstraint("(job IS NULL) <> (receipt IS NULL)", name="idempotency_leads_somewhere"),
    )
