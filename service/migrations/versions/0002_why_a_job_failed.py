"""Why a job failed, in words for the client that caused it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; jobs that failed before have none."""
    op.add_column("jobs", sa.Column("detail", sa.String(2000)))
