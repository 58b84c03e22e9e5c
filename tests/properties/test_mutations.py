"""No changed receipt is accepted: every field changed, removed, added and retyped, as it came and signed again.

The base is the vector ``proven``; the operator's key lies beside the vectors, since the operator is the adversary.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verinfer.verifier import dsse, keys, strict_json
from verinfer.verifier.bundle import BundleFolder
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import VerinferError
from verinfer.verifier.evidence import EZKL_KIND
from verinfer.verifier.policy import parse_policy
from verinfer.verifier.proof_systems import ProofSystem
from verinfer.verifier.statement import PAYLOAD_TYPE
from verinfer.verifier.verdict import Verified
from verinfer.verifier.verify import Expect, verify
from verinfer.verifier.wire import parse_time

SHARED = Path(__file__).parents[1] / "vectors" / "shared"
PROVEN = Path(__file__).parents[1] / "vectors" / "cases" / "proven"
RECEIPT = json.loads((PROVEN / "receipt.json").read_text())
STATEMENT = json.loads(base64.b64decode(RECEIPT["envelope"]["payload"]))
KEY = keys.read_private(SHARED / "operator.pem")
NOW = parse_time(json.loads((PROVEN / "case.json").read_text())["now"])
POLICY = parse_policy((SHARED / "policy.json").read_bytes())

RETYPED: tuple[Any, ...] = (None, True, 1, -1, 2**53, "", "0", [], {}, [[]], {"x": 1})


def _verify(data: bytes, checks: ProofSystem) -> Verified:
    return verify(
        data,
        policy=POLICY,
        now=NOW,
        expect=Expect(model="bmi", nonce=STATEMENT["predicate"]["nonce"], mode="zk"),
        bundles=BundleFolder(SHARED / "bundles"),
        proof_systems={EZKL_KIND: checks},
    )


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


def _mutants(document: Any) -> Iterator[tuple[str, Any]]:
    """Every single-field mutation: removed, retyped, and a field or an element added."""
    for path in _paths(document):
        name = ".".join(map(str, path)) or "document"
        if path:
            changed = copy.deepcopy(document)
            target = _at(changed, path[:-1])
            del target[path[-1]]
            yield f"{name} removed", changed
        for index, value in enumerate(RETYPED):
            if path and type(_at(document, path)) is not type(value):
                changed = copy.deepcopy(document)
                _at(changed, path[:-1])[path[-1]] = copy.deepcopy(value)
                yield f"{name} retyped {index}", changed
        changed = copy.deepcopy(document)
        target = _at(changed, path)
        if isinstance(target, dict):
            target["extra"] = 1
            yield f"{name} with an extra field", changed
        elif isinstance(target, list):
            target.append(copy.deepcopy(target[-1]))
            yield f"{name} with an extra element", changed


def _at(document: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


def _changed_values(document: Any) -> Iterator[tuple[str, Any]]:
    """Every leaf with another value of its own type."""
    for path in _paths(document):
        value = _at(document, path)
        if isinstance(value, bool) or not path or not isinstance(value, (int, str)):
            continue
        other: int | str = value + 1 if isinstance(value, int) else _other_text(value)
        changed = copy.deepcopy(document)
        _at(changed, path[:-1])[path[-1]] = other
        yield f"{'.'.join(map(str, path))} changed", changed


def _other_text(text: str) -> str:
    middle = len(text) // 2
    swapped = "1" if text[middle] != "1" else "2"
    return text[:middle] + swapped + text[middle + 1 :]


def _signed(statement: Any) -> bytes:
    body = strict_json.canonical(statement)
    return json.dumps({**RECEIPT, "envelope": dsse.sign(body, PAYLOAD_TYPE, KEY).to_json()}).encode()


def _refused(data: bytes, checks: ProofSystem) -> bool:
    try:
        _verify(data, checks)
    except VerinferError:
        return True
    return False


def test_the_base_is_accepted(ezkl: ProofSystem) -> None:
    """The receipt that is mutated below is a good one, and so is its statement signed again."""
    assert _verify((PROVEN / "receipt.json").read_bytes(), ezkl).claims
    assert _verify(_signed(STATEMENT), ezkl).claims


def test_no_mutated_receipt_is_accepted(ezkl: ProofSystem) -> None:
    """Any field of the receipt changed, removed, added or retyped is refused with a code."""
    accepted = [
        name
        for mutants in (_mutants(RECEIPT), _changed_values(RECEIPT))
        for name, mutant in mutants
        if not _refused(json.dumps(mutant).encode(), ezkl)
    ]
    assert accepted == []


def test_no_mutated_statement_is_accepted_although_it_is_signed_again(ezkl: ProofSystem) -> None:
    """Any field of the statement changed, removed, added or retyped and signed by the operator is refused with a code."""
    accepted = []
    for mutants in (_mutants(STATEMENT), _changed_values(STATEMENT)):
        for name, mutant in mutants:
            for lie in (mutant, _with_its_subject(mutant)):
                data = _signed_or_none(lie)
                if data is not None and lie != STATEMENT and not _refused(data, ezkl):
                    accepted.append(name)
    assert accepted == []


def _with_its_subject(statement: Any) -> Any:
    """The statement of a careful liar, who puts the digest of the changed output in; or the statement as it is."""
    careful = copy.deepcopy(statement)
    try:
        output = strict_json.canonical(careful["predicate"]["output"])
        careful["subject"][0]["digest"]["sha256"] = sha256(output)
    except (KeyError, IndexError, TypeError, VerinferError):
        return statement
    return careful


def _signed_or_none(statement: Any) -> bytes | None:
    """The signed receipt; None where not even the operator can write the statement down."""
    try:
        return _signed(statement)
    except VerinferError:
        return None


@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=st.randoms(use_true_random=False))
def test_no_damaged_bytes_cause_another_failure(source: random.Random, accepts_all: ProofSystem) -> None:
    """Bytes flipped, cut, doubled or inserted anywhere give a verdict or an error with a code, never a traceback."""
    data = bytearray((PROVEN / "receipt.json").read_bytes())
    for _ in range(source.randint(1, 4)):
        position = source.randrange(len(data))
        match source.randrange(4):
            case 0:
                data[position] = source.randrange(256)
            case 1:
                del data[position : position + source.randint(1, 40)]
            case 2:
                data[position:position] = bytes(data[position : position + source.randint(1, 40)])
            case _:
                data[position:position] = source.choice(
                    [b'"', b"{", b"]", b"\\u0000", b"1e9", b"NaN", b"\xff", b",", b"0", b"null"]
                )
    if not _refused(bytes(data), accepts_all):
        # Only the proof's own bytes, which the real check reads, and blanks between fields may have changed.
        mutant = json.loads(data)
        assert mutant["envelope"] == RECEIPT["envelope"]
        assert set(mutant["evidence"]) == {EZKL_KIND} or mutant["evidence"] == {}


@settings(max_examples=60, deadline=None)
@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_proof_is_accepted(position: int, bit: int, ezkl: ProofSystem) -> None:
    """One flipped bit anywhere in a proof is refused by EZKL itself."""
    proof = bytearray(base64.b64decode(RECEIPT["evidence"][EZKL_KIND]["proof"]))
    proof[position % len(proof)] ^= 1 << bit
    evidence = {EZKL_KIND: {"proof": base64.b64encode(proof).decode()}}
    assert _refused(json.dumps({**RECEIPT, "evidence": evidence}).encode(), ezkl)
