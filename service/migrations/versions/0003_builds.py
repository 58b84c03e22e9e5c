"""Jobs that build a model, beside those that prove an answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; all jobs so far prove."""
    op.add_column("jobs", sa.Column("kind", sa.String(8), nullable=False, server_default="prove"))
