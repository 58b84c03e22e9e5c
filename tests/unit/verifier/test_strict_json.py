"""What verinfer reads as JSON, and what it refuses because two parsers could disagree about it."""

from __future__ import annotations

import contextlib
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verinfer.verifier import strict_json
from verinfer.verifier.errors import Malformed

SAFE = st.integers(-(2**53) + 1, 2**53 - 1)
VALUES = st.recursive(
    st.booleans() | SAFE | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_canonical_bytes_read_back_as_the_same_value(value: object) -> None:
    """Parsing the canonical form gives the value, and its canonical form is the same bytes again."""
    data = strict_json.canonical(value)
    assert strict_json.parse(data, limit=1 << 20) == value
    assert strict_json.canonical(strict_json.parse(data, limit=1 << 20)) == data


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        "1.0",
        "1e3",
        "[NaN]",
        "Infinity",
        "-Infinity",
        "-0",
        "01",
        "1" * 21,
        '"\\ud800"',
        '{"\\udfff":1}',
        "{} {}",
        "",
        "'a'",
        '{"a":1,}',
        "\ufeff{}",
        "[" * 40 + "]" * 40,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 50 + "1" + "}" * 50,
    ],
)
def test_ambiguous_json_is_refused(text: str) -> None:
    """Duplicate keys, floats, odd numbers, lone surrogates, trailing text and deep nesting are malformed."""
    with pytest.raises(Malformed) as caught:
        strict_json.parse(text.encode("utf-8", "surrogatepass"), limit=1 << 20)
    assert caught.value.code == "json-invalid"


DEEP = ("[" * 100_000 + "]" * 100_000, "[" * 100_000, '{"a":' * 50_000, '["\\"[",' * 33 + "1" + "]" * 33)


@pytest.mark.parametrize("text", DEEP, ids=["lists", "open lists", "objects", "with texts"])
def test_depth_is_ours_to_check(text: str) -> None:
    """However deep this process may go: a library may have raised its limit so far that the stack would end first."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(Malformed) as caught:
            strict_json.parse(text.encode(), limit=1 << 20)
    finally:
        sys.setrecursionlimit(before)
    assert caught.value.code == "json-invalid"


def test_brackets_in_texts_and_beside_each_other_are_not_deep() -> None:
    """As deep as it may be, and no deeper, whatever texts hold."""
    most = strict_json.MAX_DEPTH
    texts = '["' + "[{" * 500 + r'\"[\\","]"]'
    value = strict_json.parse(texts.encode(), limit=1 << 20)
    assert value == ["[{" * 500 + '"[\\', "]"]
    assert len(strict_json.parse(b"[" + b"[]," * 999 + b"[]]", limit=1 << 20)) == 1000
    strict_json.parse(b"[" * most + b"]" * most, limit=1 << 20)
    with pytest.raises(Malformed):
        strict_json.parse(b"[" * (most + 1) + b"]" * (most + 1), limit=1 << 20)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    """JSON is UTF-8 and nothing else."""
    with pytest.raises(Malformed) as caught:
        strict_json.parse('{"a":"é"}'.encode("latin-1"), limit=100)
    assert caught.value.code == "json-invalid"


def test_size_is_checked_before_anything_is_parsed() -> None:
    """One byte over the limit is too large; exactly the limit is fine."""
    data = json.dumps("x" * 10).encode()
    assert strict_json.parse(data, limit=len(data)) == "x" * 10
    with pytest.raises(Malformed) as caught:
        strict_json.parse(data, limit=len(data) - 1)
    assert caught.value.code == "too-large"


def test_integers_beyond_exact_have_no_canonical_form() -> None:
    """RFC 8785 writes integers exactly up to 2^53 - 1; beyond that verinfer refuses instead of rounding."""
    with pytest.raises(Malformed):
        strict_json.canonical({"a": 2**53})


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_malformed(data: bytes) -> None:
    """No input causes another kind of failure."""
    with contextlib.suppress(Malformed):
        strict_json.parse(data, limit=1000)
