"""Strict JSON in, canonical JSON out.

Takes received bytes and gives plain Python values; refuses what two parsers could read differently.
What is hashed and verified elsewhere are the received bytes, never a re-serialisation.
Sources: RFC 8259; I-JSON, RFC 7493; canonical form RFC 8785 through the `rfc8785` package.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any, NoReturn

import rfc8785

from .errors import Malformed

MAX_DEPTH = 32
"""Levels of nesting; the deepest document of ours has 7."""

MAX_DIGITS = 20
"""Digits of one integer; every integer of ours is below 2^53."""

MAX_ITEMS = 1 << 22
"""Items of all lists and objects together; each takes at least 8 bytes, and 40 if it is a larger number."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

MAX_PARTS = 1 << 21
"""Brackets, braces, colons and quotes: what makes lists, objects and texts, which take up to 100 bytes for each."""


def parse(data: bytes, *, limit: int, what: str = "document", floats: bool = False) -> Any:
    """Parse `data` strictly.

    `limit` is the largest accepted size in bytes; `what` names the document in an error.
    `floats` admits finite floats, which only EZKL's own settings and samples need.
    Raises `Malformed` with ``too-large`` or ``json-invalid``.
    """
    try:
        return _parse(data, limit=limit, floats=floats)
    except Malformed as error:
        raise Malformed(error.code, f"The {what}: {error.message}") from error


def _parse(data: bytes, *, limit: int, floats: bool) -> Any:
    if len(data) > limit:
        raise Malformed("too-large", f"It has {len(data)} bytes; the limit is {limit}.")
    check_size(data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("json-invalid", "Not UTF-8.") from error
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float if floats else _no_float,
            parse_constant=_no_constant,
        )
    except ValueError as error:
        raise Malformed("json-invalid", f"Not JSON: {error}.") from error
    _check(value)
    return value


def check_size(data: bytes) -> None:
    """Raise `Malformed` for JSON that a parser would turn into many times its size in memory, or go down in too deep.

    (``too-large``, ``json-invalid``.) A parser's own limit is that of the process, which any library may have raised so far that
    the stack ends first: web3's do.
    """
    items, parts = data.count(b","), sum(map(data.count, (b"[", b"{", b":", b'"')))
    if items > MAX_ITEMS or parts > MAX_PARTS:
        raise Malformed("too-large", "It has more values than anything that verinfer reads.")
    # Mostly there are not even so many brackets.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise Malformed("json-invalid", f"Nested deeper than {MAX_DEPTH} levels.")


def _depth(data: bytes) -> int:
    """How deep a parser goes before it is done, or finds the first thing that is no JSON."""
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of `value`; raises `Malformed` where it has none (lone surrogates, integers past 2^53)."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise Malformed("json-invalid", f"No canonical form: {error}.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Malformed("json-invalid", "An object has a duplicate key.")
    return result


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise Malformed("json-invalid", f"An integer has more than {MAX_DIGITS} digits.")
    if text == "-0":
        raise Malformed("json-invalid", "Minus zero is not an integer.")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise Malformed("json-invalid", "A number is too large.")
    return value


def _no_float(text: str) -> NoReturn:
    raise Malformed("json-invalid", f"A float ({text[:20]}) where only integers are allowed.")


def _no_constant(text: str) -> NoReturn:
    raise Malformed("json-invalid", f"{text} is not JSON.")


def _check(value: Any) -> None:
    if isinstance(value, str):
        if not value.isascii():
            _check_encodable(value)
    elif isinstance(value, (dict, list)):
        if isinstance(value, dict):
            for key in value:
                _check_encodable(key)
        for item in value.values() if isinstance(value, dict) else value:
            if not isinstance(item, int):
                _check(item)


def _check_encodable(text: str) -> None:
    # A lone surrogate survives json.loads and has no UTF-8 form.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Malformed("json-invalid", "A string holds a lone surrogate.") from error
