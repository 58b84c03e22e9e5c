"""The SQLite database: how it is opened, read and written, and brought to the newest schema.

WAL with ``synchronous=FULL``: what was committed survives a power cut. Writers take their turn (``BEGIN IMMEDIATE``).
Sources: sqlite.org/wal.html, sqlite.org/pragma.html; SQLAlchemy's page on the pysqlite dialect for the transaction hooks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, OperationalError

from verinfer.verifier.errors import CouldNotCheck

from .errors import Refused

_BUSY_SECONDS = 30
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """One SQLite file; safe to share between threads, and the file between processes."""

    def __init__(self, path: Path) -> None:
        """Raises `Refused` (``data-dir-unusable``)."""
        try:
            # The process's umask may be lax, and SQLite copies the mode of this file to its WAL.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise Refused("data-dir-unusable", f"{path}: {error.strerror or error}.") from error
        self._path = path
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            connect_args={"timeout": _BUSY_SECONDS},
            hide_parameters=True,
        )
        sa.event.listen(self._engine, "connect", _on_connect)
        sa.event.listen(self._engine, "begin", _on_begin)
        self._writing = self._engine.execution_options(verinfer_write=True)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A snapshot for reading."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, durable when this returns; raises `CouldNotCheck` (``disk-full``) with nothing changed."""
        try:
            with self._writing.begin() as connection:
                yield connection
        except OperationalError as error:
            if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise CouldNotCheck("disk-full") from error
            raise

    def migrate(self) -> None:
        """Bring the schema to the newest version; raises `Refused` (``data-dir-unusable``) if the file has none of ours."""
        # Alembic is needed here only, and takes a while to import.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        try:
            with self.write() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            reason = "was written by a newer verinfer"
            raise Refused("data-dir-unusable", f"{self._path} {reason} ({error}).") from error
        except DatabaseError as error:
            raise Refused("data-dir-unusable", f"{self._path}: {error.orig}.") from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
    # Transactions begin where `_on_begin` says, not where the driver guesses.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("verinfer_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
