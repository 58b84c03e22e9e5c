"""What a hostile node can do with an answer's bytes: neither fill the memory nor keep anybody waiting for ever."""

from __future__ import annotations

import gzip
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import pytest
import requests

from verinfer.verifier.evm.transport import ANSWER_LIMIT, bounded_session

from ....serving import Respond, reply, serving


def _post(respond: Respond, seconds: float = 20) -> bytes:
    with serving(respond) as url, bounded_session(seconds) as session:
        return session.post(url, data=b"{}", timeout=5).content


def _whole(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
    reply(handler, b'{"a":1}')


def _chunks(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n')


def _unmeasured(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b'{"a":1}')


def _flood(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
    reply(handler, b"", Content_Length=str(1 << 40))
    with suppress(OSError):  # until nobody reads any more
        while True:
            handler.wfile.write(b" " * (1 << 16))


def _trickle(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
    reply(handler, b"", Content_Length="1000")
    with suppress(OSError):
        for _ in range(1000):
            handler.wfile.write(b" ")
            time.sleep(0.02)


def _packed(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
    reply(handler, gzip.compress(b" " * ANSWER_LIMIT), Content_Encoding="gzip")


def _deep(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
    reply(handler, b"[" * 33 + b"]" * 33)


def _torn(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"zz\r\n")


def test_an_answer_is_read_whole() -> None:
    """Whether it says how long it is, comes in chunks, or ends with the connection."""
    for respond in (_whole, _chunks, _unmeasured):
        assert _post(respond) == b'{"a":1}'


def test_a_flood_ends_at_the_limit() -> None:
    """Whatever length it promises."""
    with pytest.raises(ValueError, match="more than 16,777,216 bytes"):
        _post(_flood)


def test_a_trickle_ends_in_time() -> None:
    """A byte now and then does not start the time anew."""
    start = time.monotonic()
    with pytest.raises(requests.Timeout):
        _post(_trickle, 0.2)
    assert time.monotonic() - start < 5


def test_a_packed_answer_is_not_unpacked() -> None:
    """Nobody asked for one, and a small one could fill the memory."""
    assert len(_post(_packed)) < 1 << 16


def test_what_a_parser_would_choke_on_is_refused() -> None:
    """A parser's own limit may have been raised until the stack ends first."""
    with pytest.raises(ValueError, match="deeper than 32"):
        _post(_deep)


def test_a_broken_answer_is_one_of_a_node_that_does_not_answer() -> None:
    """Chunks that are none."""
    with pytest.raises(requests.RequestException):
        _post(_torn)
