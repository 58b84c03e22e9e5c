"""The work of the build lane: an uploaded model becomes a package that is served.

The build itself is a process of its own (`builder`): it can be killed at any moment with all that it started, it is the first to
go when the machine runs out of memory, and a fault in it ends one job.
A package appears under its job's name at once and whole, and then its job succeeds; a job that is taken up again finds it there.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verinfer.circuits.package import open_package
from verinfer.verifier import files
from verinfer.verifier.errors import UsageError, VerinferError

from . import storage
from .build_store import BuildStore
from .data_folder import DataFolder
from .errors import Refused
from .groups import Groups
from .jobs import BuildLease, Kind
from .pipeline import OnProgress
from .settings import Settings

_log = logging.getLogger("verinfer.service.supervisor")

_POLL_SECONDS = 0.1


class BuildFailed(Refused):
    """A build ended without a package; `told` says that the message is for whoever uploaded."""

    def __init__(self, code: str, message: str = "", *, told: bool = False) -> None:
        super().__init__(code, message)
        self.told = told


class Builds:
    """Builds packages, one at a time."""

    kind: Kind = "build"

    def __init__(self, settings: Settings, builds: BuildStore) -> None:
        self._settings = settings
        self._builds = builds
        self._folder = DataFolder(settings.data)
        self._groups = Groups(self._folder.builders)

    def prepare(self) -> None:
        """Nothing stands by for a build."""

    def lease(self, *, now: float, until: float) -> BuildLease | None:
        """Take the next job, if there is one."""
        return self._builds.lease(now=now, until=until)

    def do(self, lease: BuildLease, cancelled: threading.Event, on_progress: OnProgress) -> None:
        """Build and publish the package; raises `VerinferError`."""
        final = self._folder.models / lease.job
        if not final.exists():
            # What the build leaves aside lies in here, too, and goes with it.
            with tempfile.TemporaryDirectory(dir=self._folder.work, ignore_cleanup_errors=True) as work:
                self._build(lease, Path(work), cancelled, on_progress)
                try:
                    files.publish_folder(Path(work) / "package", final)
                except UsageError:
                    # A supervisor that was believed dead was faster, with the same order.
                    _log.warning("a package was there already", extra={"facts": {"job": lease.job}})
        self._builds.succeed(lease, open_package(final).digest, now=time.time())

    def clear(self, lease: BuildLease) -> None:
        """Remove what was uploaded, if the job has ended."""
        self._groups.forget()
        if lease.job not in self._builds.unfinished():
            storage.remove_upload(self._folder, lease.job)

    def explain(self, error: VerinferError) -> str | None:
        """What `builder` says is for whoever uploaded; what else fails is for the log."""
        return error.message if isinstance(error, BuildFailed) and error.told else None

    def _build(
        self, lease: BuildLease, work: Path, cancelled: threading.Event, on_progress: OnProgress
    ) -> None:
        request = {
            "order": asdict(lease.order),
            # A child lives in its own directory, where a relative path means something else.
            "upload": str((self._folder.uploads / lease.job).absolute()),
            "out": str((work / "package").absolute()),
            "settings": {
                **self._settings.model_dump(mode="json"),
                "data": str(self._settings.data.absolute()),
            },
        }
        deadline = time.monotonic() + self._settings.build_seconds
        with _started(work, self._groups) as process:
            _send(process, request)
            said = dict[str, Any]()
            for message in _messages(process, deadline, cancelled):
                if "phase" in message:
                    on_progress(message["phase"], message["progress"])
                else:
                    said = message
            status = process.wait()
        if "done" not in said:
            raise _failure(said, status)


@contextmanager
def _started(work: Path, groups: Groups) -> Iterator[subprocess.Popen[bytes]]:
    """A builder that lives in `work`; at the end it is gone, and its children with it."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "verinfer.service.builder", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=work,
        env={**os.environ, "TMPDIR": str(work.absolute())},
        start_new_session=True,
    )
    with process:
        try:
            groups.record(process.pid)
            yield process
        finally:
            process.kill()


def _send(process: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()


def _messages(
    process: subprocess.Popen[bytes], deadline: float, cancelled: threading.Event
) -> Iterator[dict[str, Any]]:
    """What the builder says until it ends, a JSON object a line; raises `BuildFailed` once the work is not wanted any more."""
    assert process.stdout is not None
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if cancelled.is_set():
                raise BuildFailed("child-cancelled")
            if time.monotonic() > deadline:
                raise BuildFailed("child-out-of-time", "The build took longer than it may here.", told=True)
            if selector.select(_POLL_SECONDS):
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    return
                *lines, pending = (pending + chunk).split(b"\n")
                yield from map(json.loads, lines)


def _failure(said: dict[str, Any], status: int) -> BuildFailed:
    if said:
        if not said["told"]:
            facts = {"code": said["code"], "reason": said["message"]}
            _log.error("a build failed inside the service", extra={"facts": facts})
        return BuildFailed(said["code"], said["message"], told=said["told"])
    if status == -signal.SIGKILL:
        return BuildFailed(
            "child-killed", "The build was killed; perhaps the machine ran out of memory.", told=True
        )
    return BuildFailed("internal")
