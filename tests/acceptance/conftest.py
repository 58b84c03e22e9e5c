"""A real server in a process of its own, as an operator would run it, and what a test does to it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from verinfer.circuits.package import Package

from ..command import verinfer as run

START_SECONDS = 30.0
NONCE = "5a" * 32


def verinfer(home: Path, *arguments: object, expect: int = 0) -> dict[str, Any]:
    """The JSON that a command printed last; its exit code must be `expect`."""
    done = run(*arguments, home=home)
    assert done.returncode == expect, (arguments, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if "--json" in arguments else {"said": done.stdout + done.stderr}


@dataclass
class Server:
    """One data folder, and the server process that uses it now."""

    package: Path
    data: Path
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60.0))

    def start(self, **environment: str) -> None:
        """Start the process and wait until it is ready; `environment` are settings for this start."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                # As it is typed: relative to where the operator is, which is not where children are.
                command(self.package, Path(self.data.name)),
                cwd=self.data.parent,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environment},
            )
        assert self.process.stdout is not None
        found = re.search(r"http://[0-9.]+:[0-9]+", self.process.stdout.readline())
        assert found, self.log.read_text()
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.http.base_url = httpx.URL(found[0])
        self.until(lambda: self.get("/v2/health/ready").status_code == 200, seconds=START_SECONDS)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and give the exit status."""
        assert self.process is not None
        self.process.send_signal(how)
        status = self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def get(self, path: str) -> httpx.Response:
        """One GET; while the server starts, a refused connection is a 503."""
        try:
            return self.http.get(path)
        except httpx.TransportError:
            return httpx.Response(503)

    def infer(
        self,
        *,
        mode: str = "zk",
        headers: dict[str, str] | None = None,
        nonce: str = NONCE,
        sample: tuple[float, float, float] = (0.5, -0.25, 1.0),
    ) -> httpx.Response:
        """Ask about one sample."""
        body = {
            "inputs": [{"name": "habits", "shape": [1, 3], "datatype": "FP32", "data": sample}],
            "parameters": {"mode": mode, "nonce": nonce},
        }
        return self.http.post("/v2/models/bmi/infer", json=body, headers=headers)

    def submit(self) -> str:
        """Queue a proof and give its job."""
        response = self.infer(headers={"Prefer": "respond-async"})
        assert response.status_code == 202
        job: str = response.json()["parameters"]["job"]
        return job

    def job(self, job: str) -> dict[str, Any]:
        """A job's state."""
        state: dict[str, Any] = self.http.get(f"/v1/jobs/{job}").json()
        return state

    def ended(self, job: str) -> dict[str, Any]:
        """A job's state once it is final."""
        final = ("succeeded", "failed", "cancelled")
        self.until(lambda: self.job(job)["status"] in final, seconds=60)
        return self.job(job)

    def children(self) -> list[int]:
        """The process groups that prove or stand by, as the supervisor has written them down, and those of ended ones."""
        return [int(path.name) for path in (self.data / "groups").iterdir()]

    def proving_child(self) -> int:
        """Wait for the child that makes the proof, which is the second of a job, and give its process id."""
        found: list[int] = []

        def proves() -> bool:
            children = self.children()
            found[:] = [pid for pid in children if b"circuits._ezkl" in arguments(pid)]
            ended = [pid for pid in children if not arguments(pid)]
            # One that still stands by has a single thread.
            return len(ended) == 1 and len(found) == 1 and threads(found[0]) > 1

        self.until(proves, seconds=30)
        return found[0]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query finds in the server's database."""
        database = sqlite3.connect(self.data / "verinfer.db")
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()

    def until(self, holds: Callable[[], bool], *, seconds: float) -> None:
        """Wait for something, and fail with the server's log if it does not happen."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.log.read_text()[-5000:]
            time.sleep(0.02)


def command(package: Path, data: Path) -> list[str]:
    """How an operator starts a server on any free port."""
    return [
        sys.executable,
        "-m",
        "verinfer.verifier",
        "serve",
        str(package),
        "--data",
        str(data),
        "--port",
        "0",
    ]


def arguments(pid: int) -> bytes:
    """A living process's command line; empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def threads(pid: int) -> int:
    """How many threads a process has; none if it is gone."""
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return 0


def parent(pid: int) -> int:
    """The process that started a living process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def _in_folder(package: Package, home: Path) -> Iterator[Server]:
    """A server that is not yet started, with a data folder of its own; killed at the end."""
    made = Server(package.folder, home / "data", home / "server.log")
    with made.http:
        try:
            yield made
        finally:
            if made.process is not None and made.process.poll() is None:
                made.stop(signal.SIGKILL)


@pytest.fixture
def stopped(bmi_package: Package, tmp_path: Path) -> Iterator[Server]:
    """A server that is not yet started, with a data folder of its own."""
    with _in_folder(bmi_package, tmp_path) as made:
        yield made


@pytest.fixture
def server(stopped: Server) -> Server:
    """A running server."""
    stopped.start()
    return stopped


@pytest.fixture(scope="module")
def common(bmi_package: Package, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server for those tests of a module that neither stop it nor its children."""
    with _in_folder(bmi_package, tmp_path_factory.mktemp("common")) as made:
        made.start()
        yield made
