"""HTTP to a node that may be hostile: it leads to no other address, and its answers end, and can be parsed."""

from __future__ import annotations

import time
from io import BytesIO
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from ..errors import Malformed
from ..strict_json import check_size

ANSWER_LIMIT = 16 << 20
"""Bytes; code, a block's header with its transactions' hashes, or a receipt with its events, all have less."""


def bounded_session(seconds: float) -> requests.Session:
    """A session that follows no redirect; neither a flood, a trickle nor a packed answer takes more than the limits.

    `seconds`: from an answer's header to its end. Its requests raise what `requests` raises, and ValueError for more bytes, or
    for JSON that is too much for a parser (`strict_json.check_size`).
    """
    session = requests.Session()
    session.max_redirects = 0
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Bounded(seconds))
    return session


class _Bounded(HTTPAdapter):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def send(self, request: requests.PreparedRequest, *given: Any, **options: Any) -> requests.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = super().send(request, *given, **{**options, "stream": True})
        deadline, read = time.monotonic() + self._seconds, bytearray()
        try:
            with response.raw as raw:
                while chunk := raw.read1(1 << 16, decode_content=False):
                    read += chunk
                    if len(read) > ANSWER_LIMIT:
                        raise ValueError(f"an answer of more than {ANSWER_LIMIT:,} bytes")
                    if time.monotonic() > deadline:
                        raise requests.Timeout("the answer does not end")
            check_size(bytes(read))
        except HTTPError as error:
            raise requests.ConnectionError(error) from error
        except Malformed as error:
            raise ValueError(error.message) from error
        response.raw = BytesIO(read)
        return response
