"""The line between the HTTP process and its supervisor: a pair of sockets that keeps messages whole.

Towards the supervisor goes "look again"; back come signs of life, changed jobs and progress.
What is true stands in the database; a lost message costs a moment, nothing else, so neither side ever blocks here.
When one side dies the other reads an end of file.
"""

from __future__ import annotations

import json
import select
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass

_LONGEST = 1024
_WAKE = b"wake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """From the supervisor: it lives; with `job`, that job changed; with `phase`, it is in that phase, `progress` from 0 to 1."""

    job: str | None = None
    phase: str | None = None
    progress: float = 0.0


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class ServerEnd:
    """The HTTP process's end; never blocks."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end

    def fileno(self) -> int:
        """To wait on."""
        return self._end.fileno()

    def wake(self) -> None:
        """Tell the supervisor to look at the database again."""
        # Full means that it has not yet looked since an earlier wake; a broken pipe, that a new one will start by looking.
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            self._end.send(_WAKE)

    def receive(self) -> Report | None:
        """The next report; None at the end of file. Raises BlockingIOError when there is none yet."""
        try:
            message = self._end.recv(_LONGEST)
        except ConnectionResetError:
            return None
        return Report(**json.loads(message)) if message else None

    def close(self) -> None:
        """Hang up."""
        self._end.close()


class SupervisorEnd:
    """The supervisor's end; any of its threads may send."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end

    def send(self, report: Report) -> None:
        """Send a report, or drop it if the other side does not keep up."""
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            self._end.send(json.dumps(asdict(report)).encode())

    def wait(self, seconds: float) -> bool:
        """Wait for a wake, at most so long; False if the server is gone."""
        ready, _, _ = select.select([self._end], [], [], seconds)
        if not ready:
            return True
        try:
            return bool(self._end.recv(_LONGEST))
        except ConnectionResetError:
            return False
