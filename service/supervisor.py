"""The supervisor: a process of its own that leases jobs and has them proven in children.

Started by `supervision`; it dies with the HTTP process, and its children with it (parent-death signals, and the end of file
on their line). Proving holds the GIL of the child, never this one's, so heartbeats go on.
First of all it kills what a dead supervisor may have left.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verinfer.circuits.native import heavy_limits
from verinfer.verifier import keys
from verinfer.verifier.errors import CouldNotCheck, UsageError, VerinferError
from verinfer.verifier.jail import JailError, Limits, hide_memory

from . import logs
from .catalogue import Catalogue, open_catalogue
from .data_folder import DataFolder, lock
from .database import Database
from .errors import Refused
from .groups import Groups
from .job_store import JobStore
from .jobs import Lease
from .link import Report, SupervisorEnd
from .pipeline import make_receipt
from .settings import Settings
from .standby import PreparedPlace, Standby

_log = logging.getLogger("verinfer.service.supervisor")  # this module runs as __main__

_LEASE_HEARTBEATS = 3
_IDLE_SECONDS = 1.0
"""How soon a job is seen whose wake was lost."""
_TROUBLE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class _Running:
    lease: Lease
    cancelled: threading.Event


class Supervisor:
    """Runs one proof at a time: EZKL uses every core, so two at once would both be slower."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        catalogue: Catalogue,
        key: Ed25519PrivateKey,
        end: SupervisorEnd,
    ) -> None:
        self._settings = settings
        self._store = store
        self._catalogue = catalogue
        self._key = key
        self._end = end
        self._folder = DataFolder(settings.data)
        self._groups = Groups(self._folder.groups)
        self._standby = Standby(self._folder.standby, _limits(settings), self._groups)
        self._wanted = threading.Event()
        self._running: _Running | None = None

    def run(self) -> None:
        """Work until the server is gone."""
        killed = self._groups.kill_leftovers()
        if killed:
            _log.warning("killed leftover children", extra={"facts": {"groups": killed}})
        for folder in (self._folder.work, self._folder.standby):
            for left in folder.iterdir():
                shutil.rmtree(left)
        self._store.expire_leases()
        threading.Thread(target=self._work, name="prover", daemon=True).start()
        self._end.send(Report())
        due = 0.0
        while self._end.wait(max(due - time.monotonic(), 0.0)):
            self._wanted.set()
            self._keep_lease()
            if time.monotonic() >= due:
                self._end.send(Report())
                due = time.monotonic() + self._settings.heartbeat_seconds

    def _keep_lease(self) -> None:
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
            # A disk that is full for a moment is no reason to lose hours of proving; the token guards what is written.
            _log.error("the lease was not extended", extra={"facts": {"code": error.code}})

    def _lease_end(self) -> float:
        return time.time() + _LEASE_HEARTBEATS * self._settings.heartbeat_seconds

    def _work(self) -> None:
        """The prover thread; it lives as long as the process, as children die with the thread that started them."""
        try:
            while True:
                self._wanted.clear()
                self._standby.refill()
                try:
                    self._work_once()
                except CouldNotCheck as error:
                    # The database cannot be written. A job that was being worked on is leased again when its lease runs out.
                    _log.error("cannot go on for now", extra={"facts": {"code": error.code}})
                    time.sleep(_TROUBLE_SECONDS)
        except BaseException:  # noqa: BLE001 - whatever it is, the process must not go on
            _log.exception("the prover thread failed")
            # A supervisor that cannot work must not look alive; another will be started.
            os._exit(1)

    def _work_once(self) -> None:
        lease = self._store.lease(now=time.time(), until=self._lease_end())
        if lease is None:
            self._wanted.wait(_IDLE_SECONDS)
        else:
            self._run_job(lease)

    def _run_job(self, lease: Lease) -> None:
        running = _Running(lease, threading.Event())
        if lease.cancel_requested:
            running.cancelled.set()
        self._running = running
        self._end.send(Report(job=lease.job))
        started = time.monotonic()
        try:
            outcome = self._finish(running)
        except Refused as error:
            if error.code != "lease-lost":
                raise
            outcome = error.code
        finally:
            self._running = None
            self._end.send(Report(job=lease.job))
            self._standby.clear()
        facts = {"job": lease.job, "outcome": outcome, "seconds": round(time.monotonic() - started, 3)}
        _log.info("job ended", extra={"facts": facts})

    def _finish(self, running: _Running) -> str:
        """Bring the job to its end and say which; raises `Refused` (``lease-lost``)."""
        lease = running.lease
        detail = None
        with tempfile.TemporaryDirectory(dir=self._folder.work, ignore_cleanup_errors=True) as directory:
            try:
                receipt = make_receipt(
                    lease.order,
                    lease.statement,
                    self._catalogue.circuit(lease.order.circuit),
                    self._key,
                    _LeasedRecord(self._store, lease),
                    self._place(Path(directory), running.cancelled),
                    _Progress(self._end, lease.job),
                    self._standby.checks(),
                )
                self._store.succeed(lease, receipt.digest, receipt.body, now=time.time())
                return "succeeded"
            except VerinferError as error:
                code = error.code
                # The client's own doing; what else fails is for the log.
                detail = error.message[:2000] if isinstance(error, UsageError) else None
            except Exception:  # noqa: BLE001 - a fault of ours ends this job and no other
                _log.exception("a job failed inside the service", extra={"facts": {"job": lease.job}})
                code = "internal"
        if code == "lease-lost":
            raise Refused(code)
        if code == "child-cancelled":
            self._store.stop(lease, now=time.time())
            return "cancelled"
        self._store.fail(lease, code, now=time.time(), detail=detail)
        return code

    def _place(self, directory: Path, cancelled: threading.Event) -> PreparedPlace:
        return PreparedPlace(
            directory=directory,
            limits=_limits(self._settings),
            on_start=self._groups.record,
            cancelled=cancelled,
            standby=self._standby,
        )


@dataclass(frozen=True, slots=True)
class _LeasedRecord:
    """The steps of one job in the database, under its lease."""

    store: JobStore
    lease: Lease

    def statement(self, statement: bytes) -> bytes:
        return self.store.record_statement(self.lease, statement)

    def proof(self, kind: str) -> bytes | None:
        return self.store.proof(self.lease, kind)

    def record_proof(self, kind: str, evidence: bytes) -> None:
        self.store.record_proof(self.lease, kind, evidence)


class _Progress:
    """Sends progress, but only when a reader would see a difference."""

    def __init__(self, end: SupervisorEnd, job: str) -> None:
        self._end = end
        self._job = job
        self._last = ("", -1)

    def __call__(self, phase: str, fraction: float) -> None:
        shown = (phase, int(fraction * 100))
        if shown != self._last:
            self._last = shown
            self._end.send(Report(job=self._job, phase=phase, progress=fraction))


def _limits(settings: Settings) -> Limits:
    limits = heavy_limits()
    return replace(
        limits,
        memory_bytes=settings.prove_memory_bytes or limits.memory_bytes,
        wall_seconds=settings.prove_seconds,
    )


def _die_with_parent() -> None:
    # If the server died before this took effect, the line to it is at its end of file, which ends `run`.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def main() -> None:
    """Run as ``python -m verinfer.service.supervisor DESCRIPTOR SETTINGS``; the arguments are `supervision`'s."""
    descriptor, settings = int(sys.argv[1]), Settings.model_validate_json(sys.argv[2])
    _die_with_parent()
    with suppress(JailError):  # Where there is no jail, the children say so.
        hide_memory()
    logs.configure()
    folder = DataFolder(settings.data)
    # One that was killed may take a moment to die.
    with lock(folder.supervisor_lock, wait=True):
        database = Database(folder.database)
        Supervisor(
            settings,
            JobStore(database),
            open_catalogue(settings.packages),
            keys.read_private(folder.key),
            SupervisorEnd(socket.socket(fileno=descriptor)),
        ).run()


if __name__ == "__main__":
    main()
