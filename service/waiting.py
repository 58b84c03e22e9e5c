"""Waits for a job to change, woken by the supervisor's reports and now and then by a look at the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

from .events import Events
from .job_store import JobStore
from .jobs import Job

_LOOK_SECONDS = 1.0
"""For a report that was lost."""


async def changes(jobs: JobStore, events: Events, job: str, *, seconds: float | None) -> AsyncGenerator[Job]:
    """The job now, and again whenever it may have changed, until it is final the time is over, or the server stops.

    Raises `Refused` (``job-unknown``).
    """
    deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
    with events.watch(job) as changed:
        while True:
            changed.clear()
            state = await run_in_threadpool(jobs.get, job)
            yield state
            left = _LOOK_SECONDS
            if deadline is not None:
                left = min(left, deadline - asyncio.get_running_loop().time())
            if state.is_final or left <= 0 or events.is_closed:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), left)


async def wait_for_end(jobs: JobStore, events: Events, job: str, *, seconds: float) -> Job:
    """The job when it is final, or as it is when the time is over."""
    states = changes(jobs, events, job, seconds=seconds)
    last = await anext(states)
    async for state in states:
        last = state
    return last
