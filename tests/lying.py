"""A node that lies: it asks a real one, but for the answers that it was told to give."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if liar.elsewhere is not None:
                self._answer(b"", 307, ("Location", liar.elsewhere))
                return
            asked = json.loads(body)
            if asked["method"] == "eth_sendRawTransaction":
                liar.signed.append(asked["params"][0])
            lie = liar.lies.get(asked["method"])
            if isinstance(lie, bytes):
                self._answer(lie)
                return
            true = real.post(rpc, content=body, headers={"Content-Type": "application/json"})
            answer = true.json()
            if lie is not None:
                answer["result"] = lie(asked, answer.get("result"))
            self._answer(json.dumps(answer).encode())

        def _answer(self, data: bytes, status: int = 200, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            for name, value in (("Content-Length", str(len(data))), *headers):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    liar.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        with httpx.Client() as real:
            yield liar
    finally:
        server.shutdown()
        server.server_close()
