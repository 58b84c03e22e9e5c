"""``/v1/jobs``: where a proof or a build is, as JSON or as server-sent events, and its cancellation."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from verinfer.verifier.wire import format_time

from .. import storage
from ..errors import describe
from ..events import Events
from ..jobs import Job, State
from ..parts import Parts, UseParts
from ..waiting import changes, wait_for_end

router = APIRouter(prefix="/v1/jobs")

_CANCEL_SECONDS = 2.0
"""How long a cancellation waits for the prover's end before it answers 202."""


@router.get("/{job}")
async def show(parts: UseParts, job: str) -> dict[str, Any]:
    """The job's state."""
    return describe_job(await run_in_threadpool(parts.resources.jobs.get, job), parts.events)


@router.get("/{job}/events")
async def events(parts: UseParts, job: str) -> StreamingResponse:
    """The job's state, and again at each change, until it has ended (``text/event-stream``)."""
    # Raised here, while there still is a status to answer with.
    await run_in_threadpool(parts.resources.jobs.get, job)
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(_stream(parts, job), media_type="text/event-stream", headers=headers)


@router.delete("/{job}")
async def cancel(parts: UseParts, job: str) -> JSONResponse:
    """Cancel: 200 when the job has ended, 202 while its prover still does."""
    jobs = parts.resources.jobs
    await run_in_threadpool(jobs.cancel, job, now=time.time())
    parts.events.change(job)
    parts.supervision.wake()
    state = await wait_for_end(jobs, parts.events, job, seconds=_CANCEL_SECONDS)
    if state.kind == "build" and state.is_final:
        await run_in_threadpool(storage.remove_upload, parts.resources.folder, job)
    return JSONResponse(describe_job(state, parts.events), status_code=200 if state.is_final else 202)


async def _stream(parts: Parts, job: str) -> AsyncIterator[str]:
    shown = ""
    async with aclosing(changes(parts.resources.jobs, parts.events, job, seconds=None)) as states:
        async for state in states:
            line = json.dumps(describe_job(state, parts.events))
            # A comment keeps the connection open through proxies.
            yield ": still here\n\n" if line == shown else f"event: job\ndata: {line}\n\n"
            shown = line
            await asyncio.sleep(0)


def describe_job(job: Job, events: Events) -> dict[str, Any]:
    """The job as its client sees it."""
    progress = events.progress(job.id) if job.state is State.RUNNING else None
    done = 1.0 if job.state is State.SUCCEEDED else progress.fraction if progress else 0.0
    entries = {
        "id": job.id,
        "kind": job.kind,
        "status": job.state.value,
        "model": job.model,
        "version": job.version,
        "mode": job.mode,
        "phase": progress.phase if progress else None,
        "progress": round(float(done), 2),
        "created_at": format_time(job.created_at),
        "started_at": format_time(job.started_at) if job.started_at else None,
        "finished_at": format_time(job.finished_at) if job.finished_at else None,
        "circuit": job.circuit if job.kind == "build" else None,
        "served": f"/v1/models/{job.model}/versions/{job.version}" if _is_built(job) else None,
        "receipt_digest": job.receipt_digest,
        "receipt": f"/v1/receipts/{job.receipt_digest}" if job.receipt_digest else None,
        "code": job.code,
        "detail": job.detail or (describe(job.code) if job.code else None),
    }
    return {name: value for name, value in entries.items() if value is not None}


def _is_built(job: Job) -> bool:
    return job.kind == "build" and job.state is State.SUCCEEDED
