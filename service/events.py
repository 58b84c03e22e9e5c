"""What the HTTP process knows between two looks at the database: who waits for which job, and how far jobs are.

Lives in the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running job is; `fraction` of the whole work, 0 to 1."""

    phase: str
    fraction: float


class Events:
    """Wakes those who wait for a job when it changes."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._progress: dict[str, Progress] = {}
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether the server is stopping, so that nobody should wait any longer."""
        return self._closed

    def close(self) -> None:
        """Send everybody home who waits."""
        self._closed = True
        for job in self._waiting:
            self._wake(job)

    @contextmanager
    def watch(self, job: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job changes; the watcher clears it."""
        event = asyncio.Event()
        self._waiting.setdefault(job, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[job].discard(event)
            if not self._waiting[job]:
                del self._waiting[job]

    def advance(self, job: str, progress: Progress) -> None:
        """Note how far the job is."""
        self._progress[job] = progress
        self._wake(job)

    def change(self, job: str) -> None:
        """The job's state in the database is another one."""
        self._progress.pop(job, None)
        self._wake(job)

    def progress(self, job: str) -> Progress | None:
        """How far the job is, if that is known."""
        return self._progress.get(job)

    def forget(self) -> None:
        """Nothing is running any more, as far as is known."""
        self._progress.clear()

    def _wake(self, job: str) -> None:
        for event in self._waiting.get(job, ()):
            event.set()
