"""The work of the proving lanes, one for each proof system: receipts, made by `pipeline` in children that stand by."""

from __future__ import annotations

import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verinfer.circuits.native import heavy_limits
from verinfer.circuits.package import Package
from verinfer.circuits.prove_sumcheck import key_files
from verinfer.circuits.provers import needs_kernels
from verinfer.verifier.errors import UsageError, VerinferError
from verinfer.verifier.jail import Limits

from .catalogue import Catalogue
from .data_folder import DataFolder
from .groups import Groups
from .job_store import JobStore
from .jobs import Kind, Lease, ProofLease
from .pipeline import OnProgress, make_receipt
from .settings import Settings
from .standby import PreparedPlace, Standby


class _Receipts(ABC):
    """Makes receipts, one at a time, with the proofs of some of the circuits that are served."""

    kind: Kind = "prove"

    def __init__(
        self, settings: Settings, store: JobStore, catalogue: Catalogue, key: Ed25519PrivateKey
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._key = key
        self._folder = DataFolder(settings.data)
        self._limits = _limits(settings)
        self._groups = Groups(self._written_down(self._folder))
        self._standby = Standby(self._folder.standby, self._limits, self._groups)

    @abstractmethod
    def _written_down(self, folder: DataFolder) -> Path:
        """Where the process groups of the children are written down."""

    @abstractmethod
    def prepare(self) -> None:
        """Start the children that the next proof will need."""

    @abstractmethod
    def lease(self, *, now: float, until: float) -> ProofLease | None:
        """Take the next job, if there is one."""

    @property
    def _worked(self) -> Mapping[str, Package]:
        """The packages whose proofs take a worker, by circuit."""
        return {package.digest: package for package in self._catalogue if needs_kernels(package.manifest)}

    def do(self, lease: ProofLease, cancelled: threading.Event, on_progress: OnProgress) -> None:
        """Make the receipt and publish it; raises `VerinferError`."""
        with tempfile.TemporaryDirectory(dir=self._folder.work, ignore_cleanup_errors=True) as directory:
            receipt = make_receipt(
                lease.order,
                lease.statement,
                self._catalogue.circuit(lease.order.circuit),
                self._key,
                _LeasedRecord(self._store, lease),
                self._place(Path(directory), cancelled),
                on_progress,
                self._standby.checks(),
            )
            self._store.succeed(lease, receipt.digest, receipt.body, now=time.time())

    def clear(self, lease: ProofLease) -> None:  # noqa: ARG002 - other kinds of work need it
        """End the children that the proof took."""
        self._standby.clear()

    def explain(self, error: VerinferError) -> str | None:
        """The client's own doing; what else fails is for the log."""
        return error.message if isinstance(error, UsageError) else None

    def _place(self, directory: Path, cancelled: threading.Event) -> PreparedPlace:
        return PreparedPlace(
            directory=directory,
            limits=self._limits,
            on_start=self._groups.record,
            cancelled=cancelled,
            standby=self._standby,
        )


class EzklProofs(_Receipts):
    """Receipts with EZKL's proofs: one uses every core, so two at once would both be slower."""

    def _written_down(self, folder: DataFolder) -> Path:
        return folder.groups

    def prepare(self) -> None:
        """Start the children that the next proof will need, if it can be one of EZKL's."""
        others = [package for package in self._catalogue if not needs_kernels(package.manifest)]
        if others:
            # Where inputs are hidden there is a second forward pass, with the challenge.
            hidden = any(package.manifest.visibility != "public" for package in others)
            self._standby.refill(passes=2 if hidden else 1)

    def lease(self, *, now: float, until: float) -> ProofLease | None:
        """Take the next job that no worker is for, if there is one."""
        return self._store.lease(now=now, until=until, but=self._worked)


class SumcheckProofs(_Receipts):
    """Receipts with proofs of verinfer-sc/1: who asks for milliseconds must not wait behind EZKL's minutes."""

    def _written_down(self, folder: DataFolder) -> Path:
        return folder.provers

    def prepare(self) -> None:
        """Start the workers that are missing."""
        self._standby.load([key_files(package) for package in self._worked.values()])

    def lease(self, *, now: float, until: float) -> ProofLease | None:
        """Take the next job that a worker is for, if there is one."""
        worked = self._worked
        return self._store.lease(now=now, until=until, among=worked) if worked else None


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


def _limits(settings: Settings) -> Limits:
    limits = heavy_limits()
    return limits._replace(
        memory_bytes=settings.prove_memory_bytes or limits.memory_bytes,
        wall_seconds=settings.prove_seconds,
    )
