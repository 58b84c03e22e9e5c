"""Builds in the database: jobs whose order is a model to build, and the list of the models that were built.

A model's name and version are taken from the moment its build is queued, and free again if the build fails or is cancelled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from . import idempotency
from .database import Database
from .errors import Refused
from .idempotency import Key, Known
from .job_store import end, finish, require_place, take
from .jobs import FINAL, BuildLease, BuildOrder, State
from .tables import jobs

_BUILDS = jobs.c.kind == "build"


class BuildStore:
    """All builds; times are seconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        job: str,
        order: BuildOrder,
        *,
        now: float,
        queue_limit: int,
        is_there: Callable[[str], bool],
        key: Key | None = None,
    ) -> Known:
        """Queue a build as `job`, whose files are in place, and give it; or give what `key` led to before.

        `is_there` says whether the package of an earlier build is still there.
        Raises `Refused` (``queue-full``, ``model-exists``, ``idempotency-key-reused``).
        """
        with self._database.write() as connection:
            known = idempotency.recall(connection, key)
            if known is not None:
                return known
            _require_free(connection, order.model, order.version, is_there)
            require_place(connection, "build", queue_limit)
            known = Known(job, None)
            connection.execute(sa.insert(jobs).values(id=job, **_new(order, now)))
            idempotency.remember(connection, key, known, now=now)
            return known

    def recall(self, key: Key | None) -> Known | None:
        """What `key` led to before; raises `Refused` (``idempotency-key-reused``)."""
        with self._database.read() as connection:
            return idempotency.recall(connection, key)

    def require_room(self, *, queue_limit: int) -> None:
        """Raise `Refused` (``queue-full``) if `add` would now, before anything was done for it."""
        with self._database.read() as connection:
            require_place(connection, "build", queue_limit)

    def require_free(self, order: BuildOrder, *, is_there: Callable[[str], bool]) -> None:
        """Raise `Refused` (``model-exists``) if `add` would now, before much was done for it."""
        with self._database.read() as connection:
            _require_free(connection, order.model, order.version, is_there)

    def lease(self, *, now: float, until: float) -> BuildLease | None:
        """Take the oldest build that waits, or whose lease ran out."""
        row = take(self._database, "build", now=now, until=until)
        return row and BuildLease(
            job=row.id, token=row.token, order=_order(row), cancel_requested=bool(row.cancel_requested)
        )

    def succeed(self, lease: BuildLease, circuit: str, *, now: float) -> None:
        """End the job: its package is in place, and served from now on. Raises `Refused` (``lease-lost``)."""
        with self._database.write() as connection:
            finish(connection, lease, State.SUCCEEDED, end(now, circuit=circuit))

    def succeeded(self) -> tuple[str, ...]:
        """The builds whose packages are served, the oldest first."""
        done = sa.select(jobs.c.id).where(_BUILDS, jobs.c.state == State.SUCCEEDED)
        with self._database.read() as connection:
            return tuple(connection.execute(done.order_by(jobs.c.finished_at, jobs.c.id)).scalars())

    def unfinished(self) -> frozenset[str]:
        """The builds whose files are still needed."""
        waiting = sa.select(jobs.c.id).where(_BUILDS, jobs.c.state.not_in(FINAL))
        with self._database.read() as connection:
            return frozenset(connection.execute(waiting).scalars())


def _require_free(
    connection: sa.Connection, model: str, version: str, is_there: Callable[[str], bool]
) -> None:
    """Raise `Refused` (``model-exists``) if another build has taken this name and version."""
    rows = connection.execute(
        sa.select(jobs.c.id, jobs.c.state).where(
            _BUILDS,
            jobs.c.model == model,
            jobs.c.version == version,
            jobs.c.state.not_in((State.FAILED, State.CANCELLED)),
        )
    )
    for row in rows:
        if row.state != State.SUCCEEDED:
            message = f"{model} {version} is being built; its job is {row.id}, at /v1/jobs/{row.id}."
            raise Refused("model-exists", message, field="version")
        if is_there(row.id):
            raise Refused("model-exists", field="version")


def _new(order: BuildOrder, now: float) -> dict[str, Any]:
    return {
        "kind": "build",
        "model": order.model,
        "version": order.version,
        "circuit": "",
        "mode": "",
        "nonce": "",
        "inputs": json.dumps(asdict(order)).encode(),
        "state": State.QUEUED,
        "cancel_requested": 0,
        "token": 0,
        "created_at": now,
    }


def _order(row: sa.Row[Any]) -> BuildOrder:
    return read_order(json.loads(row.inputs))


def read_order(value: dict[str, Any]) -> BuildOrder:
    """An order from its plain values, as ``asdict`` gives them."""
    labels = value["labels"]
    return BuildOrder(**{**value, "labels": None if labels is None else tuple(labels)})
