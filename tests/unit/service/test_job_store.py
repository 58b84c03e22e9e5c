from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from verinfer.service.database import Database
from verinfer.service.errors import Refused
from verinfer.service.idempotency import Key
from verinfer.service.job_store import JobStore
from verinfer.service.jobs import Job, Order, ProofLease, State
from verinfer.service.receipt_store import ReceiptStore
from verinfer.service.tables import metadata
from verinfer.verifier.errors import CouldNotCheck

MakeOrder = Callable[..., Order]
LIMIT = 10


@pytest.fixture
def store(database: Database) -> JobStore:
    """Jobs in an empty database."""
    return JobStore(database)


def add(store: JobStore, order: Order, *, now: float = 1.0, key: Key | None = None) -> str:
    """Queue a job and give its id."""
    job = store.add(order, now=now, queue_limit=LIMIT, key=key).job
    assert job is not None
    return job


def take(store: JobStore, *, now: float = 2.0, until: float = 12.0) -> ProofLease:
    """Lease the next job, which must exist."""
    lease = store.lease(now=now, until=until)
    assert lease is not None
    return lease


def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    """Schema and code agree in every table, column and index."""
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    """A restart migrates again, and finds everything in place."""
    database.migrate()


def test_an_older_database_keeps_its_jobs(database: Database, store: JobStore, make_order: MakeOrder) -> None:
    """A server that is newer than its data folder brings the tables up to date; what was queued is still done."""
    job = add(store, make_order(audience="me"))
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs DROP COLUMN detail")
        connection.exec_driver_sql("ALTER TABLE jobs DROP COLUMN kind")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    database.migrate()
    lease = take(store)
    assert (lease.job, lease.order) == (job, make_order(audience="me"))
    store.fail(lease, "value-out-of-range", now=3.0, detail="At the layer x.")
    assert store.get(job).detail == "At the layer x."


def test_the_database_is_private_and_durable(database: Database, tmp_path: Path) -> None:
    """Nobody else may read it or its log, and a commit is on the disk when it returns."""
    with database.write() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("verinfer.db*")} == {0o600}


def test_a_job_goes_its_way(store: JobStore, database: Database, make_order: MakeOrder) -> None:
    """Queued, leased with its order, and succeeded together with its receipt."""
    order = make_order(audience="me")
    job = add(store, order)
    assert store.get(job).state is State.QUEUED
    lease = take(store)
    assert (lease.job, lease.order, lease.statement) == (job, order, None)
    assert store.get(job).state is State.RUNNING
    store.record_statement(lease, b"said")
    store.record_proof(lease, "proof/x", b"{}")
    store.succeed(lease, "d" * 64, b"receipt", now=3.0)
    ended = store.get(job)
    assert (ended.state, ended.receipt_digest) == (State.SUCCEEDED, "d" * 64)
    assert ReceiptStore(database).get("d" * 64).body == b"receipt"


def test_jobs_are_taken_in_order_and_once(store: JobStore, make_order: MakeOrder) -> None:
    """The oldest first, and none twice while its lease lasts."""
    first, second = add(store, make_order(), now=1.0), add(store, make_order(), now=2.0)
    assert [take(store).job, take(store).job] == [first, second]
    assert store.lease(now=2.0, until=12.0) is None


def test_each_lane_takes_its_own_circuits(store: JobStore, make_order: MakeOrder) -> None:
    """A job behind another lane's is not kept waiting by it, and no circuit is nobody's."""
    slow, quick = "a" * 64, "b" * 64
    first, second = add(store, make_order(circuit=slow)), add(store, make_order(circuit=quick), now=2.0)

    def taken(*, among: list[str] | None = None, but: tuple[str, ...] = ()) -> str | None:
        lease = store.lease(now=3.0, until=12.0, among=among, but=but)
        return None if lease is None else lease.job

    assert taken(among=["c" * 64]) is None
    assert taken(among=[quick]) == second
    assert taken(among=[quick]) is None
    assert taken(but=(quick,)) == first
    assert taken() is None


def test_a_lease_that_ran_out_is_taken_over_and_its_holder_writes_nothing_more(
    store: JobStore, make_order: MakeOrder
) -> None:
    """The token fences off a worker that was believed dead and comes back."""
    job = add(store, make_order())
    old = take(store, now=2.0, until=5.0)
    new = take(store, now=6.0, until=20.0)
    assert (new.job, new.token) == (job, old.token + 1)
    writes: list[Callable[[], object]] = [
        lambda: store.extend(old, until=30.0),
        lambda: store.record_statement(old, b"late"),
        lambda: store.record_proof(old, "proof/x", b"{}"),
        lambda: store.succeed(old, "d" * 64, b"receipt", now=7.0),
        lambda: store.fail(old, "internal", now=7.0),
        lambda: store.stop(old, now=7.0),
    ]
    for write in writes:
        with pytest.raises(Refused, match="lease-lost"):
            write()
    assert store.get(job).state is State.RUNNING
    assert store.proof(new, "proof/x") is None


def test_a_heartbeat_keeps_the_lease(store: JobStore, make_order: MakeOrder) -> None:
    """A lease that is extended in time is not taken over."""
    add(store, make_order())
    lease = take(store, now=2.0, until=5.0)
    assert store.extend(lease, until=9.0) is False
    assert store.lease(now=6.0, until=20.0) is None


def test_a_new_supervisor_ends_old_leases(store: JobStore, make_order: MakeOrder) -> None:
    """After a crash a running job need not wait until its lease runs out."""
    job = add(store, make_order())
    take(store, until=1e12)
    store.expire_leases()
    assert take(store).job == job


def test_a_job_that_ends_whoever_works_on_it_is_given_up(store: JobStore, make_order: MakeOrder) -> None:
    """Three times it is taken up; then it has failed, and the next one's turn comes."""
    first = store.add(make_order(), now=1.0, queue_limit=LIMIT).job
    second = store.add(make_order(), now=2.0, queue_limit=LIMIT).job
    assert first is not None
    for _ in range(3):
        lease = store.lease(now=3.0, until=9.0)
        assert lease is not None
        assert lease.job == first
        store.expire_leases()
    assert store.lease(now=3.0, until=9.0) is None
    job = store.get(first)
    assert (job.state, job.code) == (State.FAILED, "child-killed")
    lease = store.lease(now=3.0, until=9.0)
    assert lease is not None
    assert lease.job == second


def test_the_statement_is_stored_once(store: JobStore, make_order: MakeOrder) -> None:
    """A later attempt gets the first attempt's bytes, so the receipt's id never changes."""
    add(store, make_order())
    first = take(store, until=3.0)
    assert store.record_statement(first, b"first") == b"first"
    second = take(store, now=4.0)
    assert second.statement == b"first"
    assert store.record_statement(second, b"second") == b"first"


def test_a_proof_survives_its_maker(store: JobStore, make_order: MakeOrder) -> None:
    """A later attempt finds the proof that an earlier one recorded."""
    add(store, make_order())
    store.record_proof(take(store, until=3.0), "proof/x", b"evidence")
    assert store.proof(take(store, now=4.0), "proof/x") == b"evidence"


@pytest.mark.parametrize("end", ["succeed", "fail", "stop"])
def test_an_ended_job_keeps_nothing_and_ends_once(
    store: JobStore, database: Database, make_order: MakeOrder, end: str
) -> None:
    """What the client sent, and an unpublished proof, are removed with the job's end, and nothing changes the end."""
    job = add(store, make_order())
    lease = take(store)
    store.record_proof(lease, "proof/x", b"evidence")
    ends: dict[str, Callable[[], None]] = {
        "succeed": lambda: store.succeed(lease, "d" * 64, b"receipt", now=3.0),
        "fail": lambda: store.fail(lease, "child-killed", now=3.0),
        "stop": lambda: store.stop(lease, now=3.0),
    }
    ends[end]()
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT inputs FROM jobs").scalar_one() is None
        assert connection.exec_driver_sql("SELECT count(*) FROM proofs").scalar_one() == 0
    for again in ends.values():
        with pytest.raises(Refused, match="lease-lost"):
            again()
    assert store.get(job).is_final


def test_a_failed_commit_publishes_nothing(
    store: JobStore, database: Database, make_order: MakeOrder
) -> None:
    """Receipt and success are one commit: a job that may not succeed leaves no receipt."""
    add(store, make_order())
    lease = take(store)
    store.fail(lease, "internal", now=3.0)
    with pytest.raises(Refused, match="lease-lost"):
        store.succeed(lease, "d" * 64, b"receipt", now=4.0)
    with pytest.raises(Refused, match="receipt-unknown"):
        ReceiptStore(database).get("d" * 64)


def test_cancelling(store: JobStore, make_order: MakeOrder) -> None:
    """A queued job is cancelled at once, a running one through its holder, an ended one not at all."""
    queued = add(store, make_order())
    assert store.cancel(queued, now=2.0).state is State.CANCELLED
    assert store.lease(now=2.0, until=12.0) is None

    running = add(store, make_order())
    lease = take(store)
    asked: Job = store.cancel(running, now=2.0)
    assert (asked.state, asked.cancel_requested) == (State.RUNNING, True)
    assert store.extend(lease, until=12.0) is True
    store.stop(lease, now=3.0)

    for ended in (queued, running):
        with pytest.raises(Refused, match="job-finished"):
            store.cancel(ended, now=4.0)


def test_a_cancellation_outlives_the_supervisor(store: JobStore, make_order: MakeOrder) -> None:
    """Whoever takes the job up again learns that nobody wants it."""
    job = add(store, make_order())
    take(store, until=3.0)
    store.cancel(job, now=3.0)
    assert take(store, now=4.0).cancel_requested


def test_the_queue_is_bounded(store: JobStore, make_order: MakeOrder) -> None:
    """One job too many is refused; running ones do not count."""
    for _ in range(LIMIT):
        add(store, make_order())
    with pytest.raises(Refused, match="queue-full"):
        add(store, make_order())
    take(store)
    add(store, make_order())


def test_an_idempotency_key_makes_one_job_however_often_at_once(
    store: JobStore, make_order: MakeOrder
) -> None:
    """Fifty equal requests at the same moment get the same job; another request with the key is refused."""
    key, found = Key("k" * 64, "r" * 64), []
    threads = [
        threading.Thread(target=lambda: found.append(add(store, make_order(), key=key))) for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found))) == (50, 1)
    with pytest.raises(Refused, match="idempotency-key-reused"):
        add(store, make_order(), key=Key("k" * 64, "other"))


def test_an_idempotency_key_leads_to_a_receipt_too(database: Database) -> None:
    """An answer without a job is found again; the second one is not stored."""
    receipts, key = ReceiptStore(database), Key("k" * 64, "r" * 64)
    assert receipts.recall(key) is None
    first = receipts.add("1" * 64, b"first", now=1.0, key=key)
    assert receipts.add("2" * 64, b"second", now=2.0, key=key) == first == receipts.recall(key)
    with pytest.raises(Refused, match="receipt-unknown"):
        receipts.get("2" * 64)


def test_a_full_disk_is_told_and_changes_nothing(
    store: JobStore, database: Database, make_order: MakeOrder
) -> None:
    """A write that does not fit raises ``disk-full`` and leaves the database as it was."""
    job = add(store, make_order())
    with database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(CouldNotCheck, match="disk-full"):
        add(store, make_order(inputs={"habits": tuple(range(100_000))}))
    assert store.get(job).state is State.QUEUED


def test_unknown_jobs(store: JobStore) -> None:
    """An id that does not exist, whatever it looks like, is just unknown."""
    for job in ("f" * 32, "", "' OR 1=1 --"):
        with pytest.raises(Refused, match="job-unknown"):
            store.get(job)


def test_values_never_reach_an_error_text(database: Database) -> None:
    """SQL errors are shown without their parameters, since those may be inputs."""

    def insert() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("INSERT INTO receipts VALUES ('x', ?, 'none', 1.0)", (b"canary-7c1e",))

    insert()
    with pytest.raises(IntegrityError) as caught:
        insert()
    assert "canary" not in str(caught.value)
