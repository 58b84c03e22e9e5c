"""A lane: one thread of the supervisor that works off jobs of one kind, one at a time, under a lease.

Proofs have a lane and builds have another, so that neither waits for the other.
What the work is, `Work` says; here is what all kinds have in common: leases, cancellation, and how a job ends.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from verinfer.verifier.errors import CouldNotCheck, VerinferError

from .errors import Refused
from .job_store import JobStore
from .jobs import Kind, Lease
from .link import Report, SupervisorEnd
from .pipeline import OnProgress

_log = logging.getLogger("verinfer.service.supervisor")

_LEASE_HEARTBEATS = 3
_IDLE_SECONDS = 1.0
"""How soon a job is seen whose wake was lost."""
_TROUBLE_SECONDS = 5.0
_LONGEST_DETAIL = 2000
"""As the database holds it."""

L = TypeVar("L", bound=Lease)


class Progress:
    """Sends progress, but only when a reader would see a difference."""

    def __init__(self, end: SupervisorEnd, job: str) -> None:
        self._end = end
        self._job = job
        self._last = ("", -1)

    def __call__(self, phase: str, fraction: float) -> None:
        """Phase, and the fraction of the whole work that is done, 0 to 1."""
        shown = (phase, int(fraction * 100))
        if shown != self._last:
            self._last = shown
            self._end.send(Report(job=self._job, phase=phase, progress=fraction))


class Work(Protocol[L]):
    """What is done in a lane; all of it in the lane's one thread, as children die with the thread that started them."""

    kind: Kind

    def prepare(self) -> None:
        """Get ready for the next job; called when there is none."""
        ...

    def lease(self, *, now: float, until: float) -> L | None:
        """Take the next job, if there is one."""
        ...

    def do(self, lease: L, cancelled: threading.Event, on_progress: OnProgress) -> None:
        """Bring the job to its good end, and record that; raises `VerinferError`, whose code is the job's."""
        ...

    def clear(self, lease: L) -> None:
        """Clean up after a job, when nobody waits for it any more."""
        ...

    def explain(self, error: VerinferError) -> str | None:
        """What of a failure is told to the client; None where that is the code alone."""
        ...


@dataclass(frozen=True, slots=True)
class _Running:
    lease: Lease
    cancelled: threading.Event


class Lane(Generic[L]):
    """The thread, and the job that it works on."""

    def __init__(
        self, work: Work[L], store: JobStore, end: SupervisorEnd, *, heartbeat_seconds: float
    ) -> None:
        self._work = work
        self._store = store
        self._end = end
        self._lease_seconds = _LEASE_HEARTBEATS * heartbeat_seconds
        self._wanted = threading.Event()
        self._running: _Running | None = None

    def start(self) -> None:
        """Begin; the thread lives as long as the process."""
        threading.Thread(target=self._run, name=self._work.kind, daemon=True).start()

    def wake(self) -> None:
        """There may be a job."""
        self._wanted.set()

    def keep_lease(self) -> None:
        """Extend the lease of the job that is being worked on, and hear whether it is still wanted; from another thread."""
        running = self._running
        if running is None:
            return
        try:
            if self._store.extend(running.lease, until=self._lease_end()):
                running.cancelled.set()
        except Refused:
            # The job ended in this moment, or somebody else has it: either way it is not ours to go on with.
            running.cancelled.set()
        except CouldNotCheck as error:
            # A disk that is full for a moment is no reason to lose hours of work; the token guards what is written.
            _log.error("the lease was not extended", extra={"facts": {"code": error.code}})

    def _lease_end(self) -> float:
        return time.time() + self._lease_seconds

    def _run(self) -> None:
        try:
            while True:
                self._wanted.clear()
                self._work.prepare()
                try:
                    self._work_once()
                except CouldNotCheck as error:
                    # The database cannot be written. A job that was being worked on is leased again when its lease runs out.
                    _log.error("cannot go on for now", extra={"facts": {"code": error.code}})
                    time.sleep(_TROUBLE_SECONDS)
        except BaseException:  # noqa: BLE001 - whatever it is, the process must not go on
            _log.exception("a lane failed", extra={"facts": {"kind": self._work.kind}})
            # A supervisor that cannot work must not look alive; another will be started.
            os._exit(1)

    def _work_once(self) -> None:
        lease = self._work.lease(now=time.time(), until=self._lease_end())
        if lease is None:
            self._wanted.wait(_IDLE_SECONDS)
        else:
            self._run_job(lease)

    def _run_job(self, lease: L) -> None:
        running = _Running(lease, threading.Event())
        if lease.cancel_requested:
            running.cancelled.set()
        self._running = running
        self._end.send(Report(job=lease.job))
        started = time.monotonic()
        try:
            outcome = self._finish(lease, running.cancelled)
        except Refused as error:
            if error.code != "lease-lost":
                raise
            outcome = error.code
        finally:
            self._running = None
            self._end.send(Report(job=lease.job))
            self._work.clear(lease)
        facts = {
            "job": lease.job,
            "kind": self._work.kind,
            "outcome": outcome,
            "seconds": round(time.monotonic() - started, 3),
        }
        _log.info("job ended", extra={"facts": facts})

    def _finish(self, lease: L, cancelled: threading.Event) -> str:
        """Bring the job to its end and say which; raises `Refused` (``lease-lost``)."""
        detail = None
        try:
            self._work.do(lease, cancelled, Progress(self._end, lease.job))
            return "succeeded"
        except VerinferError as error:
            code, detail = error.code, self._work.explain(error)
        except Exception:  # noqa: BLE001 - a fault of ours ends this job and no other
            _log.exception("a job failed inside the service", extra={"facts": {"job": lease.job}})
            code = "internal"
        if code == "lease-lost":
            raise Refused(code)
        if code == "child-cancelled":
            self._store.stop(lease, now=time.time())
            return "cancelled"
        self._store.fail(lease, code, now=time.time(), detail=detail and detail[:_LONGEST_DETAIL])
        return code
