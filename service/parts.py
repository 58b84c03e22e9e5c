"""What the routes are made of: opened once, before the server listens, and handed to each route by FastAPI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import Depends, Request

from verinfer.verifier import files, keys

from .catalogue import Catalogue, open_catalogue
from .data_folder import DataFolder, lock
from .database import Database
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
    receipts: ReceiptStore

    @property
    def issuer(self) -> str:
        """The id of the service's key, as statements name it."""
        return keys.key_id(self.key.public_key())


@dataclass(frozen=True, slots=True)
class Parts:
    """What a route may use; the last three live in the event loop."""

    resources: Resources
    events: Events
    supervision: Supervision
    workers: Workers


@contextmanager
def open_resources(settings: Settings) -> Iterator[Resources]:
    """Lock the data folder, open everything in it and the packages; raises `VerinferError`."""
    folder = DataFolder(settings.data)
    folder.make()
    with lock(folder.server_lock):
        key = keys.load_or_make(folder.key)
        files.write_atomically(folder.public_key, keys.public_pem(key.public_key()))
        catalogue = open_catalogue(settings.packages)
        database = Database(folder.database)
        try:
            database.migrate()
            yield Resources(settings, catalogue, key, JobStore(database), ReceiptStore(database))
        finally:
            database.close()


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


UseParts = Annotated[Parts, Depends(_parts)]
"""How a route asks for them."""
