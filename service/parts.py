"""What the routes are made of: opened once, before the server listens, and handed to each route by FastAPI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from verinfer.circuits.package import Package
from verinfer.verifier import files, keys

from . import storage
from .build_store import BuildStore
from .catalogue import Catalogue, open_catalogue
from .contracts import Contracts
from .contracts import sweep as sweep_contracts
from .data_folder import DataFolder, lock
from .database import Database
from .errors import Refused
from .events import Events
from .fp32 import Workers
from .job_store import JobStore
from .receipt_store import ReceiptStore
from .settings import Settings
from .supervision import Supervision


@dataclass(frozen=True, slots=True)
class Resources:
    """What lasts as long as the server's process."""

    settings: Settings
    catalogue: Catalogue
    key: Ed25519PrivateKey
    jobs: JobStore
    builds: BuildStore
    receipts: ReceiptStore

    @property
    def issuer(self) -> str:
        """The id of the service's key, as statements name it."""
        return keys.key_id(self.key.public_key())

    @property
    def folder(self) -> DataFolder:
        """Where things lie."""
        return DataFolder(self.settings.data)


@dataclass(slots=True)
class Slots:
    """How many uploads may be received at once, and how many are."""

    most: int
    taken: int = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take one; raises `Refused` (``queue-full``) where there is none."""
        if self.taken >= self.most:
            raise Refused("queue-full", "Others are uploading; try again later.")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


@dataclass(frozen=True, slots=True)
class Parts:
    """What a route may use; all but the first live in the event loop."""

    resources: Resources
    events: Events
    supervision: Supervision
    workers: Workers
    receiving: Slots
    contracts: Contracts

    async def find(self, model: str, version: str | None = None) -> Package:
        """The package, also one that was built a moment ago; raises `Refused` (``model-unknown``, ``version-unknown``)."""
        catalogue = self.resources.catalogue
        try:
            return catalogue.find(model, version)
        except Refused:
            await run_in_threadpool(catalogue.refresh)
            return catalogue.find(model, version)


@contextmanager
def open_resources(settings: Settings) -> Iterator[Resources]:
    """Lock the data folder, open everything in it and the packages; raises `VerinferError`."""
    folder = DataFolder(settings.data)
    folder.make()
    with lock(folder.server_lock):
        key = keys.load_or_make(folder.key)
        files.write_atomically(folder.public_key, keys.public_pem(key.public_key()))
        database = Database(folder.database)
        try:
            database.migrate()
            builds = BuildStore(database)
            storage.sweep(folder, builds)
            sweep_contracts(folder)
            catalogue = open_catalogue(settings.packages, storage.built_packages(folder, builds))
            yield Resources(settings, catalogue, key, JobStore(database), builds, ReceiptStore(database))
        finally:
            database.close()


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


UseParts = Annotated[Parts, Depends(_parts)]
"""How a route asks for them."""
