"""Reads a request's body as JSON, with limits on size and time; a body is never held beyond its limit.

Unlike our own documents a request has real numbers in it. NaN and infinities, which some clients write although they are no
JSON, are let through to `tensors`, which refuses them by name and index; nothing else here takes a number.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from verinfer.verifier.errors import Malformed
from verinfer.verifier.strict_json import check_size

from .errors import Refused

_JSON = "application/json"


async def read_body(request: Request, *, limit: int, seconds: float) -> bytes:
    """The body's bytes.

    Raises `Malformed` (``too-large``) or `Refused` (``media-type-unsupported``, ``body-too-slow``).
    """
    headers = request.headers
    kind = headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind != _JSON or "content-encoding" in headers or "inference-header-content-length" in headers:
        raise Refused(
            "media-type-unsupported",
            "Only application/json without a content encoding is read here.",
            field="Content-Type",
        )
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise Refused("body-too-slow") from error
    except ClientDisconnect as error:
        raise Refused("body-too-slow", "The client left before its body was whole.") from error
    return bytes(body)


def parse_body(body: bytes) -> Any:
    """The body as plain values; raises `Malformed` for what is too much, too deep or no JSON, or has a duplicate key."""
    check_size(body)
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_object)
        if b"\\u" in body:
            # A lone surrogate, which only an escape can bring, has no UTF-8 form to answer or to store.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except ValueError as error:
        raise Malformed("json-invalid", f"The body is not JSON: {str(error)[:200]}.") from error


def _too_large(limit: int) -> Malformed:
    return Malformed("too-large", f"The body is larger than {limit} bytes.", field="body")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has a duplicate key")
    return result
