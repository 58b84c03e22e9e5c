"""Jobs in the database: each change of state is one conditional statement, taken from the table in `jobs`.

Whoever works on a job holds a `Lease`; every write names its token, so a worker that lost its lease changes nothing.
What only builds do is in `build_store`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from . import idempotency, receipt_store
from .database import Database
from .errors import Refused
from .idempotency import Key, Known
from .jobs import Job, Kind, Lease, Order, ProofLease, State, sources
from .tables import jobs, proofs

_SHOWN = [column for column in jobs.c if column.name not in ("inputs", "statement", "nonce")]


MOST_ATTEMPTS: dict[Kind, int] = {"prove": 3, "build": 10}
"""How often a job is taken up; each time but the first, the supervisor that worked on it had died.

A proof that kills its supervisor would block all others. A build has a process of its own, and takes so long that a server
may well be restarted a few times meanwhile.
"""


class JobStore:
    """All jobs; times are seconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, order: Order, *, now: float, queue_limit: int, key: Key | None = None) -> Known:
        """Queue a job and give it; or give what `key` led to before.

        Raises `Refused` (``queue-full``, ``idempotency-key-reused``).
        """
        with self._database.write() as connection:
            known = idempotency.recall(connection, key)
            if known is not None:
                return known
            require_place(connection, "prove", queue_limit)
            known = Known(make_id(), None)
            connection.execute(sa.insert(jobs).values(id=known.job, **_new(order, now)))
            idempotency.remember(connection, key, known, now=now)
            return known

    def get(self, job: str) -> Job:
        """The job; raises `Refused` (``job-unknown``)."""
        with self._database.read() as connection:
            return _get(connection, job)

    def cancel(self, job: str, *, now: float) -> Job:
        """Cancel a queued job, or ask whoever runs it to stop; raises `Refused` (``job-unknown``, ``job-finished``)."""
        with self._database.write() as connection:
            if _get(connection, job).is_final:
                raise Refused("job-finished")
            waiting = sa.and_(jobs.c.id == job, jobs.c.state == State.QUEUED)
            if (
                connection.execute(
                    sa.update(jobs).where(waiting).values(state=State.CANCELLED, **end(now))
                ).rowcount
                == 0
            ):
                connection.execute(sa.update(jobs).where(jobs.c.id == job).values(cancel_requested=1))
            return _get(connection, job)

    def lease(
        self,
        *,
        now: float,
        until: float,
        among: Collection[str] | None = None,
        but: Collection[str] = (),
    ) -> ProofLease | None:
        """Take the oldest job that waits for a proof, or whose lease ran out; for a circuit `among` these, or any `but` those."""
        which = jobs.c.circuit.not_in(list(but))
        if among is not None:
            which = jobs.c.circuit.in_(list(among))
        row = take(self._database, "prove", now=now, until=until, which=which)
        return row and ProofLease(
            job=row.id,
            token=row.token,
            order=_order(row),
            statement=row.statement,
            cancel_requested=bool(row.cancel_requested),
        )

    def extend(self, lease: Lease, *, until: float) -> bool:
        """Keep a lease; says whether the client asked to cancel. Raises `Refused` (``lease-lost``)."""
        with self._database.write() as connection:
            update(connection, lease, State.RUNNING, {"lease_until": until})
            return bool(
                connection.execute(
                    sa.select(jobs.c.cancel_requested).where(jobs.c.id == lease.job)
                ).scalar_one()
            )

    def expire_leases(self) -> None:
        """End every lease; only for the one supervisor that has made sure that no other lives."""
        with self._database.write() as connection:
            connection.execute(sa.update(jobs).where(jobs.c.state == State.RUNNING).values(lease_until=0.0))

    def record_statement(self, lease: Lease, statement: bytes) -> bytes:
        """Store the statement unless there is one; gives the stored one. Raises `Refused` (``lease-lost``)."""
        with self._database.write() as connection:
            update(
                connection, lease, State.RUNNING, {"statement": sa.func.coalesce(jobs.c.statement, statement)}
            )
            stored: bytes = connection.execute(
                sa.select(jobs.c.statement).where(jobs.c.id == lease.job)
            ).scalar_one()
            return stored

    def proof(self, lease: Lease, kind: str) -> bytes | None:
        """The evidence of this kind that the job already has."""
        with self._database.read() as connection:
            chosen = sa.select(proofs.c.evidence).where(proofs.c.job == lease.job, proofs.c.kind == kind)
            return connection.execute(chosen).scalar_one_or_none()

    def record_proof(self, lease: Lease, kind: str, evidence: bytes) -> None:
        """Store a finished proof; the caller found none, and holds the lease. Raises `Refused` (``lease-lost``)."""
        with self._database.write() as connection:
            update(connection, lease, State.RUNNING, {})
            connection.execute(sa.insert(proofs).values(job=lease.job, kind=kind, evidence=evidence))

    def succeed(self, lease: Lease, digest: str, receipt: bytes, *, now: float) -> None:
        """Publish the receipt and end the job, in one commit. Raises `Refused` (``lease-lost``)."""
        with self._database.write() as connection:
            finish(connection, lease, State.SUCCEEDED, end(now, receipt_digest=digest))
            receipt_store.insert(connection, digest, receipt, proof="ready", now=now)

    def fail(self, lease: Lease, code: str, *, now: float, detail: str | None = None) -> None:
        """End the job with a code, and words for the client if it is the client's doing. Raises `Refused` (``lease-lost``)."""
        with self._database.write() as connection:
            finish(connection, lease, State.FAILED, end(now, code=code, detail=detail))

    def stop(self, lease: Lease, *, now: float) -> None:
        """End a running job that the client cancelled. Raises `Refused` (``lease-lost``)."""
        with self._database.write() as connection:
            finish(connection, lease, State.CANCELLED, end(now))


def make_id() -> str:
    """A new job's id, which nobody can guess."""
    return secrets.token_hex(16)


def require_place(connection: sa.Connection, kind: Kind, limit: int) -> None:
    """Raise `Refused` (``queue-full``) if as many jobs of this kind wait as may."""
    waiting = sa.and_(jobs.c.kind == kind, jobs.c.state == State.QUEUED)
    count = sa.select(sa.func.count()).select_from(jobs).where(waiting)
    if connection.execute(count).scalar_one() >= limit:
        raise Refused("queue-full")


def take(
    database: Database,
    kind: Kind,
    *,
    now: float,
    until: float,
    which: sa.ColumnElement[bool] | None = None,
) -> sa.Row[Any] | None:
    """Lease the oldest job of this kind that waits, or whose lease ran out; gives its row, with the new token.

    `which`: only among these.
    """
    ready = sa.or_(
        jobs.c.state == State.QUEUED,
        sa.and_(jobs.c.state.in_(sources(State.RUNNING)), jobs.c.lease_until < now),
    )
    wanted = sa.and_(jobs.c.kind == kind, ready, sa.true() if which is None else which)
    oldest = sa.select(jobs).where(wanted).order_by(jobs.c.created_at, jobs.c.id).limit(1)
    with database.read() as connection:
        # Mostly there is none; then no write lock is taken.
        if connection.execute(oldest).one_or_none() is None:
            return None
    with database.write() as connection:
        row = connection.execute(oldest).one_or_none()
        if row is None:
            return None
        mine = jobs.c.id == row.id
        if row.token >= MOST_ATTEMPTS[kind]:
            # Whatever ends the process each time would block everybody behind it.
            ended = end(now, code="child-killed")
            connection.execute(sa.update(jobs).where(mine).values(state=State.FAILED, **ended))
            connection.execute(sa.delete(proofs).where(proofs.c.job == row.id))
            return None
        values = {
            "state": State.RUNNING,
            "token": row.token + 1,
            "lease_until": until,
            "started_at": sa.func.coalesce(jobs.c.started_at, now),
        }
        connection.execute(sa.update(jobs).where(mine).values(**values))
        return connection.execute(sa.select(jobs).where(mine)).one()


def update(connection: sa.Connection, lease: Lease, state: State, values: dict[str, Any]) -> None:
    """Write under the lease's token, if the job may become `state`; raises `Refused` (``lease-lost``)."""
    mine = sa.and_(jobs.c.id == lease.job, jobs.c.token == lease.token, jobs.c.state.in_(sources(state)))
    if connection.execute(sa.update(jobs).where(mine).values(state=state, **values)).rowcount != 1:
        raise Refused("lease-lost")


def finish(connection: sa.Connection, lease: Lease, state: State, values: dict[str, Any]) -> None:
    """End the job; its proofs are in the receipt, or of no more use. Raises `Refused` (``lease-lost``)."""
    update(connection, lease, state, values)
    connection.execute(sa.delete(proofs).where(proofs.c.job == lease.job))


def end(now: float, **values: str | None) -> dict[str, Any]:
    """The columns of a job that ends: it keeps no inputs."""
    return {"finished_at": now, "lease_until": None, "inputs": None, **values}


def _new(order: Order, now: float) -> dict[str, Any]:
    return {
        "kind": "prove",
        "model": order.model,
        "version": order.version,
        "circuit": order.circuit,
        "mode": order.mode,
        "nonce": order.nonce,
        "audience": order.audience,
        "inputs": json.dumps(order.inputs).encode(),
        "state": State.QUEUED,
        "cancel_requested": 0,
        "token": 0,
        "created_at": now,
    }


def _order(row: sa.Row[Any]) -> Order:
    return Order(
        model=row.model,
        version=row.version,
        circuit=row.circuit,
        mode=row.mode,
        nonce=row.nonce,
        audience=row.audience,
        inputs={name: tuple(values) for name, values in json.loads(row.inputs).items()},
    )


def _get(connection: sa.Connection, job: str) -> Job:
    row = connection.execute(sa.select(*_SHOWN).where(jobs.c.id == job)).one_or_none()
    if row is None:
        raise Refused("job-unknown")
    return Job(
        id=row.id,
        model=row.model,
        version=row.version,
        kind=row.kind,
        mode=row.mode or None,
        circuit=row.circuit or None,
        state=State(row.state),
        code=row.code,
        detail=row.detail,
        receipt_digest=row.receipt_digest,
        cancel_requested=bool(row.cancel_requested),
        created_at=datetime.fromtimestamp(row.created_at, UTC),
        started_at=_instant(row.started_at),
        finished_at=_instant(row.finished_at),
    )


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
