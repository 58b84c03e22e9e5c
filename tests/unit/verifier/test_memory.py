"""What reading a hostile receipt of 20 MB takes: its own size a few times, never gigabytes.

Each is read in a process of its own, whose peak is the kernel's figure.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROVEN = Path(__file__).parents[2] / "vectors" / "cases" / "proven"
RECEIPT = json.loads((PROVEN / "receipt.json").read_text())
STATEMENT = json.loads(base64.b64decode(RECEIPT["envelope"]["payload"]))
SIZE = 20_000_000
MOST = 400 << 20

# The peak of reading alone, beyond what the process and the receipt took before.
_MEASURE = """
import sys
from verinfer.verifier.errors import VerinferError
from verinfer.verifier.receipt import parse_receipt
data = open(sys.argv[1], "rb").read()
def kilobytes(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))
before, code = kilobytes("VmRSS"), "accepted"
try:
    parse_receipt(data)
except VerinferError as error:
    code = error.code
print(code, (kilobytes("VmHWM") - before) * 1024)
"""


def _filled(item: bytes, count: int = 0) -> bytes:
    return b",".join([item] * (count or SIZE // (len(item) + 1)))


def _fields(value: bytes, count: int) -> bytes:
    return b",".join(b'"%07d":%s' % (index, value) for index in range(count))


def _envelope(items: bytes) -> bytes:
    return b'{"envelope":[' + items + b'],"evidence":{}}'


def _evidence(items: bytes) -> bytes:
    return json.dumps({"envelope": RECEIPT["envelope"]}).encode()[:-1] + b',"evidence":{' + items + b"}}"


def _statement(change: Callable[[str], str]) -> bytes:
    body = change(json.dumps(STATEMENT)).encode()
    envelope = {**RECEIPT["envelope"], "payload": base64.b64encode(body).decode()}
    return json.dumps({**RECEIPT, "envelope": envelope}).encode()


def _output(values: bytes) -> bytes:
    value = json.dumps(STATEMENT["predicate"]["output"][0]["value"])
    return _statement(lambda text: text.replace(value, values.decode()))


CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty lists": (lambda: _envelope(_filled(b"[]")), "too-large"),
    "small objects": (lambda: _envelope(_filled(b'{"":0}')), "too-large"),
    "small texts": (lambda: _envelope(_filled(b'"ab"')), "too-large"),
    "numbers": (lambda: _envelope(_filled(b"999")), "too-large"),
    "as many numbers as may be": (lambda: _envelope(_filled(b"9999", 4_190_000)), "receipt-malformed"),
    "as many lists as may be": (lambda: _envelope(_filled(b"[]", 2_000_000)), "receipt-malformed"),
    "unknown fields": (lambda: b"{" + _fields(b"0", 1_800_000) + b"}", "too-large"),
    "as many unknown fields as may be": (lambda: b"{" + _fields(b"0", 690_000) + b"}", "receipt-malformed"),
    "as many kinds of evidence as may be": (lambda: _evidence(_fields(b"0", 690_000)), "receipt-malformed"),
    "nested": (lambda: b"[" * SIZE, "too-large"),
    "nested as deep as may be": (lambda: b'{"envelope":' * 150_000, "json-invalid"),
    "one huge integer": (lambda: b'{"envelope":' + b"9" * SIZE + b"}", "json-invalid"),
    "one wide text": (
        lambda: b'{"envelope":"' + "\U0001f600".encode() + b"a" * SIZE + b'"}',
        "receipt-malformed",
    ),
    "a statement of lists": (lambda: _output(b"[" + _filled(b"[]", 2_000_000) + b"]"), "statement-malformed"),
    "a statement of numbers": (
        lambda: _output(b"[" + _filled(b"9999999", 1_800_000) + b"]"),
        "statement-malformed",
    ),
    "a statement of unknown fields": (
        lambda: _statement(lambda text: text[:-1] + "," + _fields(b"0", 690_000).decode() + "}"),
        "statement-malformed",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_receipt_takes_no_gigabytes(tmp_path: Path, case: str) -> None:
    """Millions of wrong items, unknown fields, deep nesting and huge numbers are refused within 400 MiB."""
    make, code = CASES[case]
    path = tmp_path / "receipt.json"
    path.write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    said, peak = done.stdout.split()
    assert said == code
    assert int(peak) < MOST
