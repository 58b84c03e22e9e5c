"""The data folder: where things lie in it, and that only one server uses it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import Refused


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The paths in a data folder."""

    root: Path

    @property
    def database(self) -> Path:
        """Jobs and receipts."""
        return self.root / "verinfer.db"

    @property
    def key(self) -> Path:
        """The service's private key, PEM, 0600."""
        return self.root / "service.pem"

    @property
    def public_key(self) -> Path:
        """The service's public key, PEM, for policies."""
        return self.root / "service.pub.pem"

    @property
    def server_lock(self) -> Path:
        """Held by the one server."""
        return self.root / "server.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the one supervisor."""
        return self.root / "supervisor.lock"

    @property
    def work(self) -> Path:
        """One folder per job while it runs."""
        return self.root / "work"

    @property
    def standby(self) -> Path:
        """Folders of the children that stand by (`standby`)."""
        return self.root / "standby"

    @property
    def groups(self) -> Path:
        """The process groups of all children that prove with EZKL or stand by for it (`groups`)."""
        return self.root / "groups"

    @property
    def provers(self) -> Path:
        """The process groups of the workers of verinfer-sc/1 (`groups`)."""
        return self.root / "provers"

    @property
    def builders(self) -> Path:
        """The process groups of builds (`groups`)."""
        return self.root / "builders"

    @property
    def workers(self) -> Path:
        """Folders of the onnxruntime workers."""
        return self.root / "workers"

    @property
    def uploads(self) -> Path:
        """One folder per build job until it has ended (`uploads`)."""
        return self.root / "uploads"

    @property
    def models(self) -> Path:
        """The packages that were built here, each named by its job."""
        return self.root / "models"

    @property
    def contracts(self) -> Path:
        """The contracts of served circuits (`contracts`)."""
        return self.root / "contracts"

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (
            *(self.work, self.standby, self.groups, self.provers, self.builders, self.workers),
            *(self.uploads, self.models, self.contracts),
        )

    def make(self) -> None:
        """Make what is missing, readable by nobody else; raises `Refused` (``data-dir-unusable``)."""
        try:
            # One that is there already may be used by others too, and every file in it has a mode of its own.
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in self._folders:
                folder.mkdir(exist_ok=True)
                folder.chmod(0o700)
        except OSError as error:
            raise Refused("data-dir-unusable", f"{self.root}: {error.strerror or error}.") from error


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path`; the kernel drops it when this process dies.

    Raises `Refused`: ``data-dir-in-use`` if another process holds it, unless told to `wait`, or ``data-dir-unusable``.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused("data-dir-unusable", f"{path}: {error.strerror or error}.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            message = f"Another server uses {path.parent}; stop it or give another --data."
            raise Refused("data-dir-in-use", message) from error
        yield
    finally:
        os.close(descriptor)
