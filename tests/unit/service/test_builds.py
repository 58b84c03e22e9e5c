"""Builds: their jobs in the database, and the process that makes a package, or says why it cannot."""

from __future__ import annotations

import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from verinfer.circuits.package import Package
from verinfer.service.build_store import BuildStore
from verinfer.service.builds import BuildFailed, Builds
from verinfer.service.data_folder import DataFolder
from verinfer.service.database import Database
from verinfer.service.errors import Refused
from verinfer.service.idempotency import Key
from verinfer.service.job_store import JobStore
from verinfer.service.jobs import BuildLease, BuildOrder, Order, State
from verinfer.service.settings import Settings

ORDER = BuildOrder(model="bmi", version="1", target="", budget=0.0, batch=1, bare=False)


@pytest.fixture
def builds(database: Database) -> BuildStore:
    """Builds in an empty database."""
    return BuildStore(database)


def add(
    builds: BuildStore, job: str, order: BuildOrder = ORDER, *, there: bool = True, now: float = 1.0
) -> None:
    """Queue a build; at most two may wait."""
    builds.add(job, order, now=now, queue_limit=2, is_there=lambda _job: there)


def take(builds: BuildStore, *, now: float = 2.0) -> BuildLease:
    """Lease the next build, which must exist."""
    lease = builds.lease(now=now, until=now + 10)
    assert lease is not None
    return lease


def test_a_build_goes_its_way(builds: BuildStore, database: Database) -> None:
    """Queued, leased with its order, succeeded; nothing of the order is kept, and the model is listed."""
    order = replace(
        ORDER, bare=True, task="classification", labels=("a", "b"), cut_head=True, batch=3, inputs="hashed"
    )
    add(builds, "a", order)
    jobs = JobStore(database)
    job = jobs.get("a")
    assert (job.kind, job.state, job.mode, job.circuit) == ("build", State.QUEUED, None, None)
    lease = take(builds)
    assert (lease.job, lease.order) == ("a", order)
    assert (builds.unfinished(), builds.succeeded()) == (frozenset({"a"}), ())
    builds.succeed(lease, "c" * 64, now=3.0)
    assert (jobs.get("a").state, jobs.get("a").circuit) == (State.SUCCEEDED, "c" * 64)
    assert (builds.unfinished(), builds.succeeded()) == (frozenset(), ("a",))
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT inputs FROM jobs").scalar_one() is None


def test_builds_and_proofs_do_not_take_each_others_place(
    builds: BuildStore, database: Database, make_order: Callable[..., Order]
) -> None:
    """Each lane takes its own jobs, and each queue has its own bound: a flood of one kind does not keep out the other."""
    jobs = JobStore(database)
    add(builds, "a")
    add(builds, "b", replace(ORDER, version="2"))
    with pytest.raises(Refused, match="queue-full"):
        add(builds, "c", replace(ORDER, version="3"))
    proof = jobs.add(make_order(), now=0.5, queue_limit=1).job
    with pytest.raises(Refused, match="queue-full"):
        jobs.add(make_order(), now=0.5, queue_limit=1)
    assert take(builds).job == "a"
    leased = jobs.lease(now=2.0, until=12.0)
    assert leased is not None
    assert leased.job == proof
    assert jobs.lease(now=2.0, until=12.0) is None


def test_a_name_is_taken_while_its_model_is_built_or_there(builds: BuildStore, database: Database) -> None:
    """Not after the build failed, nor after the operator removed the package."""
    add(builds, "a")
    lease = take(builds)
    with pytest.raises(Refused, match="its job is a,"):
        add(builds, "b")
    JobStore(database).fail(lease, "no-circuit", now=3.0)
    add(builds, "b", now=3.0)
    builds.succeed(take(builds, now=4.0), "c" * 64, now=5.0)
    with pytest.raises(Refused, match="model-exists"):
        add(builds, "c")
    add(builds, "c", there=False)


def test_a_build_is_done_by_its_newest_holder(builds: BuildStore) -> None:
    """Whoever was believed dead and comes back changes nothing."""
    add(builds, "a")
    old, new = take(builds, now=2.0), take(builds, now=20.0)
    with pytest.raises(Refused, match="lease-lost"):
        builds.succeed(old, "0" * 64, now=21.0)
    builds.succeed(new, "1" * 64, now=21.0)
    with pytest.raises(Refused, match="lease-lost"):
        builds.succeed(new, "2" * 64, now=22.0)


def test_many_restarts_do_not_end_a_build(builds: BuildStore, database: Database) -> None:
    """A build may take hours, so a server may be restarted more often than a proof may be taken up; but not for ever."""
    add(builds, "a")
    for _ in range(10):
        assert take(builds).job == "a"
        JobStore(database).expire_leases()
    assert builds.lease(now=3.0, until=9.0) is None
    assert JobStore(database).get("a").code == "child-killed"


def test_an_idempotency_key_leads_to_its_build(builds: BuildStore) -> None:
    """The second one of two equal uploads gets the first one's job."""
    key = Key("k" * 64, "r" * 64)
    assert builds.recall(key) is None
    known = [
        builds.add(job, ORDER, now=1.0, queue_limit=2, is_there=lambda _job: True, key=key).job
        for job in ("a", "b")
    ]
    assert known == ["a", "a"]
    assert builds.recall(key) == builds.add("c", ORDER, now=1.0, queue_limit=0, is_there=bool, key=key)


class Bench:
    """A data folder with one build, and the lane's work on it."""

    def __init__(self, home: Path, builds: BuildStore, model: Path) -> None:
        self.folder = DataFolder(home)
        self.folder.make()
        self.builds = builds
        self.settings = Settings(data=home, free_bytes=0, build_insecure_srs=True, build_nice=0)
        self.upload = self.folder.uploads / "a"
        shutil.copytree(model, self.upload)
        self.phases: list[tuple[str, float]] = []
        self.cancelled = threading.Event()

    def build(self, order: BuildOrder = ORDER, **changes: object) -> None:
        """Queue the order and do it; `changes` are settings."""
        add(self.builds, "a", order)
        lease = take(self.builds, now=time.time())
        work = Builds(self.settings.model_copy(update=changes), self.builds)
        try:
            work.do(lease, self.cancelled, self._note)
        finally:
            assert list(self.folder.work.iterdir()) == []

    def refusal(self, order: BuildOrder = ORDER, **changes: object) -> BuildFailed:
        """How the build fails; nothing is published."""
        with pytest.raises(BuildFailed) as caught:
            self.build(order, **changes)
        assert list(self.folder.models.iterdir()) == []
        return caught.value

    def _note(self, phase: str, progress: float) -> None:
        self.phases.append((phase, progress))


@pytest.fixture
def bench(tmp_path: Path, builds: BuildStore, quick: Path) -> Bench:
    """One build of the smallest model."""
    return Bench(tmp_path / "data", builds, quick)


def test_a_build_without_an_srs_says_so_early(bench: Bench) -> None:
    """Where the operator has no ceremony file and allowed no insecure one: before the search, with a code of its own."""
    failure = bench.refusal(build_insecure_srs=False)
    assert (failure.code, failure.told) == ("srs-missing", True)
    assert "ask its operator" in failure.message
    assert [phase for phase, _ in bench.phases] == ["adopt", "estimate"]


@pytest.mark.parametrize(
    ("limit", "code"), [({"free_bytes": 1 << 60}, "disk-full"), ({"store_bytes": 1 << 20}, "store-full")]
)
def test_what_does_not_fit_is_refused_before_it_is_built(
    bench: Bench, limit: dict[str, int], code: str
) -> None:
    """By the estimate, which knows the keys' sizes: a disk is not filled until it is full."""
    failure = bench.refusal(ORDER, **limit)
    assert (failure.code, failure.told) == (code, True)
    assert [phase for phase, _ in bench.phases] == ["adopt", "estimate"]


def test_a_bomb_of_samples_ends_one_build(bench: Bench) -> None:
    """The archive is refused by what it says of itself, with the compiler's code, and nobody is told where things lie."""
    path = bench.upload / "samples.npz"
    with zipfile.ZipFile(path, "a") as archive:
        archive.getinfo("habits.npy").file_size = 2 << 30
        archive.comment = b"the directory is written anew"
    failure = bench.refusal()
    assert (failure.code, failure.told) == ("sample-malformed", True)
    assert "unpacks to more" in failure.message
    assert str(bench.folder.root) not in failure.message


def test_a_build_that_takes_too_long_is_ended(bench: Bench) -> None:
    """With all its processes."""
    failure = bench.refusal(build_seconds=0.5)
    assert (failure.code, failure.told) == ("child-out-of-time", True)


def test_a_cancelled_build_ends_at_once(bench: Bench) -> None:
    """However long it would go on."""
    threading.Timer(1.0, bench.cancelled.set).start()
    started = time.monotonic()
    assert bench.refusal().code == "child-cancelled"
    assert time.monotonic() - started < 3


def test_a_package_that_is_there_is_not_built_again(bench: Bench, bmi_package: Package) -> None:
    """A build whose supervisor died between publication and success succeeds with what it had made."""
    shutil.copytree(bmi_package.folder, bench.folder.models / "a")
    bench.build()
    assert bench.phases == []
    assert bench.builds.succeeded() == ("a",)
