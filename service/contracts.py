"""The contracts of served circuits: each is built once, when somebody first asks for it, and kept in the data folder.

A folder is named by the circuit's digest, the form, and the digest of what contracts are made with, so an update makes them anew.
A build is a process of its own (`contract_builder`), one at a time; it goes on when the client who asked has left.
Lives in the event loop; the loop's thread must be the process's main one, because the build dies with the thread that
started it (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from verinfer.circuits.package import Package
from verinfer.verifier import files, strict_json
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import UsageError, VerinferError
from verinfer.verifier.evm import solc
from verinfer.verifier.evm.harden import Form
from verinfer.verifier.manifest import EzklSystem

from .data_folder import DataFolder
from .errors import Refused
from .events import Events
from .settings import Settings

_log = logging.getLogger(__name__)

DESCRIPTOR = "contract.json"
_FILE_LIMIT = 16 << 20
_BUILD_SECONDS = 900
"""The first build of a machine may install the compiler."""
_FORGET_SECONDS = 60.0
"""How long a failed build is not tried again."""
_WAIT_SECONDS = 20.0
"""How long an answer waits for a build; many clients hang up after 30."""
_LOOK_SECONDS = 0.2
"""How soon who waits is sent home when the server stops."""
_STOP_SECONDS = 5.0
_LACKING = frozenset({"native-missing", "node-missing", "solc-missing"})

_Wanted = tuple[str, Form | None]
"""A circuit's digest, and the form of its verifier."""

Content = Mapping[str, bytes]
"""The files of a contract folder by name, ``contract.json`` among them."""


@dataclass(frozen=True, slots=True)
class _Failure:
    code: str
    until: float


class Contracts:
    """The contracts that are there, and those that are being built."""

    def __init__(self, settings: Settings, events: Events) -> None:
        """`events` says when the server stops."""
        self._events = events
        self._home = DataFolder(settings.data).contracts.absolute()
        self._there: dict[_Wanted, Content] = {}
        self._failed: dict[_Wanted, _Failure] = {}
        self._building: dict[_Wanted, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    def known(self, circuit: str) -> dict[str, Any] | None:
        """The description of a circuit's contract, if somebody has asked for it since the start, in whichever form first."""
        content = next((each for (digest, _), each in self._there.items() if digest == circuit), None)
        found: dict[str, Any] | None = None if content is None else json.loads(content[DESCRIPTOR])
        return found

    async def get(self, package: Package, form: Form | None = None) -> Content:
        """The contract of the package's circuit, of this form or of the one that fits, built if it is not there.

        Raises `UsageError` (``not-on-chain``, ``inputs-hidden``), `Refused`: ``contract-building`` if it takes longer than an
        answer waits, ``contract-unsupported``, ``contract-too-large``, ``outputs-unlike``, or what else made the build fail.
        """
        wanted = (package.digest, form)
        if not isinstance(package.manifest.proof_system, EzklSystem):
            raise UsageError("not-on-chain")
        if package.manifest.visibility != "public":
            raise UsageError("inputs-hidden")
        if (found := self._there.get(wanted)) is not None:
            return found
        failure = self._failed.get(wanted)
        if failure is not None and time.monotonic() < failure.until:
            raise Refused(failure.code)
        task = self._building.get(wanted)
        if task is None:
            task = self._building[wanted] = asyncio.create_task(self._find(package, form))
            task.add_done_callback(lambda _task: self._building.pop(wanted, None))
        until = time.monotonic() + _WAIT_SECONDS
        while not task.done() and time.monotonic() < until and not self._events.is_closed:
            await asyncio.wait({task}, timeout=_LOOK_SECONDS)
        if not task.done():
            raise Refused("contract-building")
        if (found := self._there.get(wanted)) is not None:
            return found
        failure = self._failed.get(wanted)
        raise Refused("internal" if failure is None else failure.code)

    async def close(self) -> None:
        """End what is being built."""
        for task in list(self._building.values()):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _find(self, package: Package, form: Form | None) -> None:
        """Read the contract, or build it and then read it; the outcome is in the tables."""
        wanted = (package.digest, form)
        folder = self._home / f"{package.digest}-{form or 'fitting'}-{_recipe()}"
        try:
            async with self._turn:
                found = await run_in_threadpool(_read, folder)
                if found is None:
                    await self._build(package, form, folder)
                    found = await run_in_threadpool(_read, folder)
            if found is None:
                raise Refused("artifact-torn")
            self._there[wanted] = found
        except VerinferError as error:
            self._failed[wanted] = _Failure(error.code, time.monotonic() + _FORGET_SECONDS)
        except OSError as error:
            _log.error("a contract cannot be built", extra={"facts": {"reason": error.strerror}})
            self._failed[wanted] = _Failure("internal", time.monotonic() + _FORGET_SECONDS)

    async def _build(self, package: Package, form: Form | None, folder: Path) -> None:
        await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=self._home, prefix=".", ignore_cleanup_errors=True) as work:
            made = Path(work) / "contract"
            request = {
                "bundle": str(package.path("verify").absolute()),
                "form": form,
                "out": str(made),
            }
            started = time.monotonic()
            said = await _run(request, Path(work))
            if "done" not in said:
                raise _failure(said)
            await run_in_threadpool(files.publish_folder, made, folder)
        facts = {"circuit": package.digest, "seconds": round(time.monotonic() - started, 3)}
        _log.info("a contract was built", extra={"facts": facts})


async def _run(request: dict[str, Any], work: Path) -> dict[str, Any]:
    """What a builder that lives in `work` says at its end; it is gone then, and its children with it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "verinfer.service.contract_builder", str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=work,
        env={**os.environ, "TMPDIR": str(work)},
        # An interrupt from the terminal is for the server, which then ends this.
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_BUILD_SECONDS):
            said, _ = await process.communicate(json.dumps(request).encode())
    except TimeoutError:
        return {"code": "child-out-of-time", "message": f"The build took more than {_BUILD_SECONDS} s."}
    finally:
        await _end(process)
    try:
        answer = json.loads(said)
    except ValueError:
        return {"code": "internal", "message": f"The builder ended with status {process.returncode}."}
    return (
        answer if isinstance(answer, dict) else {"code": "internal", "message": "The builder said nothing."}
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """See that the builder is gone; it may be in a program's way that only it can stop, such as npm."""
    if process.returncode is None:
        with suppress(ProcessLookupError, TimeoutError):
            process.send_signal(2)
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _failure(said: Mapping[str, Any]) -> Refused:
    """What a client is told: the code alone, since the reason may name places here."""
    facts = {"code": said["code"], "reason": said["message"]}
    _log.error("a contract was not built", extra={"facts": facts})
    return Refused("contract-unsupported" if said["code"] in _LACKING else said["code"])


def _read(folder: Path) -> Content | None:
    """The files of a contract folder; None where it is not there, or not whole."""
    try:
        data = files.read(folder / DESCRIPTOR, limit=_FILE_LIMIT)
        described = strict_json.parse(data, limit=_FILE_LIMIT, what=DESCRIPTOR)
        content = {name: files.read(folder / name, limit=_FILE_LIMIT) for name in described["files"]}
    except VerinferError:
        return None
    if any(sha256(content[name]) != digest for name, digest in described["files"].items()):
        return None
    return {DESCRIPTOR: data, **content}


@cache
def _recipe() -> str:
    """A short digest of what contracts are made with: verinfer's part in them, the Solidity, and the compiler's lock."""
    home = solc.CONTRACTS.parent
    paths = [*home.glob("evm/*.py"), home / "_ezkl.py", *solc.CONTRACTS.rglob("*")]
    return sha256(b"".join(path.read_bytes() for path in sorted(paths) if path.is_file()))[:16]


def sweep(folder: DataFolder) -> None:
    """Remove what a crash has left, and contracts that were made with other means than today's."""
    for path in folder.contracts.iterdir():
        if not path.name.endswith(f"-{_recipe()}"):
            shutil.rmtree(path, ignore_errors=True)
