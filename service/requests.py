"""Gives every request an id, which its log lines, its answer and its problem document carry, and logs how it went."""

from __future__ import annotations

import logging
import time
import uuid

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import logs

_log = logging.getLogger(__name__)


class RequestLog:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = str(uuid.uuid4())
        token = logs.request_id.set(identity)
        started, status = time.perf_counter(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = identity
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            facts = {
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "ms": milliseconds,
            }
            _log.info("request", extra={"facts": facts})
            logs.request_id.reset(token)
