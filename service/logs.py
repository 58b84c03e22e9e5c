"""Logs as JSON lines on standard error, each with the request's id where there is one.

Inputs, nonces and keys are never logged; what is logged are names, ids, codes and times.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered."""


class JsonLines(logging.Formatter):
    """One JSON object a line; extra facts come through ``extra={"facts": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (identity := request_id.get()) is not None:
            entry["request"] = identity
        entry.update(getattr(record, "facts", {}))
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure() -> None:
    """Send everything from INFO on to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Says each migration step; what matters is that the server started.
    logging.getLogger("alembic").setLevel(logging.WARNING)
