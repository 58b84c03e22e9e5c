"""Keeps one supervisor process running beside the HTTP process, and carries what it reports to `Events`.

A supervisor that dies, or says nothing for three heartbeats, is replaced.
Runs in the event loop; the loop's thread must be the process's main one, because the supervisor dies with the thread that
started it (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from .events import Events, Progress
from .link import ServerEnd, make_pair
from .settings import Settings

_log = logging.getLogger(__name__)

_PATIENCE = 3
"""Heartbeats that may be missed."""
_PAUSE_SECONDS = 0.5
"""Before another supervisor is started."""


class Supervision(Protocol):
    """What the routes need of a supervisor."""

    def wake(self) -> None:
        """There is something new in the database."""
        ...

    def is_alive(self) -> bool:
        """Whether a supervisor has been heard of lately."""
        ...


class _Supervisor:
    """One supervisor process after another."""

    def __init__(self, settings: Settings, events: Events) -> None:
        self._settings = settings
        self._events = events
        self._end: ServerEnd | None = None
        self._heard = 0.0

    def wake(self) -> None:
        if self._end is not None:
            self._end.wake()

    def is_alive(self) -> bool:
        return (
            self._end is not None
            and time.monotonic() < self._heard + _PATIENCE * self._settings.heartbeat_seconds
        )

    async def keep(self) -> None:
        """Start a supervisor whenever there is none, until cancelled."""
        while True:
            try:
                await self._run()
            except OSError as error:
                _log.error("supervisor cannot be started", extra={"facts": {"reason": error.strerror}})
            self._events.forget()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _run(self) -> None:
        mine, theirs = make_pair()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "verinfer.service.supervisor"),
                *(str(theirs.fileno()), self._settings.model_dump_json()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # An interrupt from the terminal is for the server, which then ends this.
                start_new_session=True,
            )
        finally:
            theirs.close()
        loop = asyncio.get_running_loop()
        end = ServerEnd(mine)
        loop.add_reader(end.fileno(), self._receive, end)
        self._end = end
        try:
            await self._until_silent(process)
        finally:
            self._end = None
            self._heard = 0.0
            loop.remove_reader(end.fileno())
            end.close()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _until_silent(self, process: asyncio.subprocess.Process) -> None:
        ended = asyncio.create_task(process.wait())
        try:
            while True:
                done, _ = await asyncio.wait({ended}, timeout=self._settings.heartbeat_seconds)
                if done:
                    _log.error("supervisor ended", extra={"facts": {"status": process.returncode}})
                    return
                # Before its first word it may be busy checking packages of any size.
                if self._heard and not self.is_alive():
                    _log.error("supervisor is silent")
                    return
        finally:
            ended.cancel()

    def _receive(self, end: ServerEnd) -> None:
        with suppress(BlockingIOError):
            while (report := end.receive()) is not None:
                self._heard = time.monotonic()
                if report.job is None:
                    continue
                if report.phase is None:
                    self._events.change(report.job)
                else:
                    self._events.advance(report.job, Progress(report.phase, report.progress))
            # End of file: it died, and `_until_silent` will see that.
            asyncio.get_running_loop().remove_reader(end.fileno())


@asynccontextmanager
async def supervise(settings: Settings, events: Events) -> AsyncIterator[Supervision]:
    """A supervisor for as long as the context is open."""
    supervisor = _Supervisor(settings, events)
    keeping = asyncio.create_task(supervisor.keep())
    try:
        yield supervisor
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
