"""The HTTP application: routes, error handlers, and a lifespan that owns what lives in the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from verinfer.verifier.errors import VerinferError

from . import problems
from .api import contracts as contract_routes
from .api import jobs, models, oip, receipts, uploads, wellknown
from .contracts import Contracts
from .data_folder import DataFolder
from .events import Events
from .fp32 import Workers
from .parts import Parts, Resources, Slots
from .requests import RequestLog
from .settings import Settings
from .supervision import Supervision, supervise

_UPLOADS_AT_ONCE = 2

Supervise = Callable[[Settings, Events], AbstractAsyncContextManager[Supervision]]


def create_app(resources: Resources, *, supervision: Supervise = supervise) -> FastAPI:
    """The application over `resources`, which outlive it; `supervision` runs the provers while it is up."""
    settings = resources.settings

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        events = Events()
        folder = DataFolder(settings.data).workers
        workers = Workers(folder, seconds=settings.infer_seconds, queue_limit=settings.queue_limit)
        contracts = Contracts(settings, events)
        try:
            async with supervision(settings, events) as supervisor:
                app.state.parts = Parts(
                    resources, events, supervisor, workers, Slots(_UPLOADS_AT_ONCE), contracts
                )
                yield
        finally:
            await contracts.close()
            workers.close()

    app = FastAPI(
        title="verinfer",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    for part in (oip, jobs, models, contract_routes, uploads, receipts, wellknown):
        app.include_router(part.router)
    app.add_exception_handler(VerinferError, problems.on_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(Exception, problems.on_fault)
    app.add_middleware(RequestLog)
    return app
