"""A node that lies: it asks a real one, but for the answers that it was told to give."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx

from .serving import reply, serving

Lie = bytes | Callable[[dict[str, Any], Any], Any]
"""A whole answer; or what makes a result of the question and the true result."""


@dataclass
class Liar:
    """Where it listens, how it lies by method, where it sends those who ask, and the transactions that it was given."""

    url: str = ""
    lies: dict[str, Lie] = field(default_factory=dict)
    elsewhere: str | None = None
    signed: list[str] = field(default_factory=list)


def always(result: Any) -> Lie:
    """The lie that says this whatever the question."""
    return lambda _asked, _true: result


@contextmanager
def lying(rpc: str) -> Iterator[Liar]:
    """A node between a client and the one at `rpc`, which lies as its `lies` say."""
    liar = Liar()

    def respond(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if liar.elsewhere is not None:
            reply(handler, b"", status=307, Location=liar.elsewhere)
            return
        asked = json.loads(body)
        if asked["method"] == "eth_sendRawTransaction":
            liar.signed.append(asked["params"][0])
        lie = liar.lies.get(asked["method"])
        if isinstance(lie, bytes):
            reply(handler, lie)
            return
        said = real.post(rpc, content=body, headers={"Content-Type": "application/json"}).json()
        if lie is not None:
            said["result"] = lie(asked, said.get("result"))
        reply(handler, json.dumps(said).encode())

    with httpx.Client() as real, serving(respond) as url:
        liar.url = url
        yield liar
