"""Runs the server: resources, application, and uvicorn until it is told to stop."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from verinfer.circuits import kernels
from verinfer.circuits.provers import needs_kernels
from verinfer.verifier.errors import UsageError

from . import logs
from .app import create_app
from .errors import Refused
from .parts import Parts, Resources, open_resources
from .settings import Settings

_GRACE_SECONDS = 5
_BACKLOG = 512


def serve(
    settings: Settings,
    announce: Callable[[Resources, str], None],
    on_progress: Callable[[str, float], None],
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` gets the resources and the URL once all is there.

    `on_progress`: of the kernels that packages of verinfer-sc/1 take, which are compiled before anybody can ask.
    Raises `VerinferError` if it cannot start.
    """
    with open_resources(settings) as resources, _listen(settings) as listener:
        if settings.allow_uploads:
            _require_loopback(listener)
        if any(needs_kernels(package.manifest) for package in resources.catalogue):
            kernels.make(on_progress)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        announce(resources, f"http://{host}:{listener.getsockname()[1]}")
        logs.configure()
        app = create_app(resources)
        # uvicorn's own log goes the way of all others; requests are logged by `requests`.
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS
        )
        asyncio.run(_Server(config, app).serve(sockets=[listener]))


class _Server(uvicorn.Server):
    """Sends those home who wait for a proof, so that stopping takes no longer than an ordinary request."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._fastapi = app
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        # uvicorn's own would raise the signal again after all was closed, and so end in an error.
        self.force_exit = self.should_exit
        self.should_exit = True
        parts: Parts | None = getattr(self._fastapi.state, "parts", None)
        if self._loop is not None and parts is not None:
            self._loop.call_soon_threadsafe(parts.events.close)


def _require_loopback(listener: socket.socket) -> None:
    """Raise `UsageError` (``usage``) where others than this machine can reach the server."""
    address = listener.getsockname()[0]
    if not ipaddress.ip_address(address).is_loopback:
        raise UsageError(
            "usage",
            f"--allow-uploads goes with a loopback address only, and {address} is none: there are no accounts yet, so anybody who"
            " reaches the server could have it build and serve models.",
        )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        # Python adds the address to the system's words for some errors, not for all.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        message = (
            f"Cannot listen on {settings.host}:{settings.port}: {reason}; give another --host or --port."
        )
        raise Refused("address-in-use", message) from error
    # asyncio sets this for sockets of its own making only; without it each answer's last segment waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
