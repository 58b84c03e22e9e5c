from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from verinfer.service.app import create_app
from verinfer.service.database import Database
from verinfer.service.events import Events
from verinfer.service.jobs import Order
from verinfer.service.parts import Resources
from verinfer.service.settings import Settings
from verinfer.service.supervision import Supervision

Serve = Callable[[Resources], AbstractContextManager[httpx.Client]]
"""How a test gets the application over real HTTP, without a supervisor."""


class _Absent:
    """No supervisor: jobs stay queued, which is what tests look at."""

    def wake(self) -> None:
        """There is nobody to wake."""

    def is_alive(self) -> bool:
        """It is not."""
        return False


@asynccontextmanager
async def _unsupervised(_settings: Settings, _events: Events) -> AsyncIterator[Supervision]:
    yield _Absent()


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Serves until the context ends."""

    @contextmanager
    def serving(resources: Resources) -> Iterator[httpx.Client]:
        config = uvicorn.Config(
            create_app(resources, supervision=_unsupervised), log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
            thread.start()
            try:
                with httpx.Client(
                    base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30.0
                ) as opened:
                    yield opened
            finally:
                server.should_exit = True
                thread.join()

    return serving


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database of the newest schema."""
    opened = Database(tmp_path / "verinfer.db")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def make_order() -> Callable[..., Order]:
    """Makes orders; every field has a value unless another is given."""

    def make(**changes: object) -> Order:
        fields: dict[str, object] = {
            "model": "bmi",
            "version": "1",
            "circuit": "c" * 64,
            "mode": "zk",
            "nonce": "0" * 64,
            "audience": None,
            "inputs": {"habits": (1, -2, 3)},
        }
        return Order(**{**fields, **changes})  # type: ignore[arg-type]  # each value fits its own field

    return make
