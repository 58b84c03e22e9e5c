"""``POST /v1/models``: an owner's model, samples and wishes become a build job; off unless the operator allows it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from .. import uploads
from ..parts import UseParts
from .jobs import describe_job

router = APIRouter(prefix="/v1/models")


@router.post("")
async def upload(request: Request, parts: UseParts) -> JSONResponse:
    """Answer 202 with the job that builds the model."""
    job = await uploads.accept(request, parts)
    parts.supervision.wake()
    state = await run_in_threadpool(parts.resources.jobs.get, job)
    headers = {"Location": f"/v1/jobs/{job}", "Retry-After": "5"}
    return JSONResponse(describe_job(state, parts.events), status_code=202, headers=headers)
