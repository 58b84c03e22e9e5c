"""What verification owes besides the vectors: origins, mistakes of the caller, native answers, and texts of others."""

from __future__ import annotations

import base64
import json
import os
import signal
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from verinfer.verifier import report
from verinfer.verifier.bundle import BundleFolder
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.client import ServiceError
from verinfer.verifier.dsse import Envelope
from verinfer.verifier.errors import CouldNotCheck, Malformed, Rejected, UsageError
from verinfer.verifier.evidence import EZKL_KIND, Proof
from verinfer.verifier.ezkl_proof import EzklCheck, WaitingChildren
from verinfer.verifier.policy import Origin, parse_policy
from verinfer.verifier.proof_systems import ProofSystem
from verinfer.verifier.statement import parse_statement
from verinfer.verifier.verdict import Caveat, Claim, Verified
from verinfer.verifier.verify import Expect, verify
from verinfer.verifier.wire import parse_time

VECTORS = Path(__file__).parents[2] / "vectors"


def _verify(origin: Origin) -> Verified:
    case = VECTORS / "cases" / "proven"
    return verify(
        (case / "receipt.json").read_bytes(),
        policy=replace(parse_policy((VECTORS / "shared" / "policy.json").read_bytes()), origin=origin),
        now=parse_time(json.loads((case / "case.json").read_text())["now"]),
        expect=Expect(model="bmi"),
        bundles=BundleFolder(VECTORS / "shared" / "bundles"),
    )


def test_an_operators_word_does_not_make_a_model_checked() -> None:
    """The same policy claims `computed-by-model` from an owner, and names the gap when the operator gave it."""
    assert Claim.COMPUTED_BY_MODEL in _verify("local").claims
    verified = _verify("operator")
    assert Claim.COMPUTED_BY_MODEL not in verified.claims
    assert {Caveat.MODEL_EQUIVALENCE_NOT_CHECKED, Caveat.POLICY_FROM_OPERATOR} <= set(verified.caveats)


def _verified(expect: Expect, checks: ProofSystem) -> Verified:
    case = VECTORS / "cases" / "proven"
    return verify(
        (case / "receipt.json").read_bytes(),
        policy=parse_policy((VECTORS / "shared" / "policy.json").read_bytes()),
        now=parse_time(json.loads((case / "case.json").read_text())["now"]),
        expect=expect,
        bundles=BundleFolder(VECTORS / "shared" / "bundles"),
        proof_systems={EZKL_KIND: checks},
    )


@pytest.mark.parametrize(
    ("sample", "code"),
    [
        ({}, "input-missing"),
        ({"habits": [7, 3.1, 8.2], "more": [1]}, "input-unknown"),
        ({"habits": [1]}, "shape-mismatch"),
    ],
    ids=["none", "too many", "too short"],
)
def test_a_sample_that_is_not_the_models_is_the_callers_mistake(
    sample: dict[str, list[float]], code: str, accepts_all: ProofSystem
) -> None:
    """Inputs by another name are never passed over: that would be no comparison."""
    case = json.loads((VECTORS / "cases" / "proven-with-sample" / "case.json").read_text())
    if "more" in sample:
        sample = {**case["expect"]["sample"], "more": [1]}
    with pytest.raises(UsageError) as caught:
        _verified(Expect(model="bmi", sample=sample), accepts_all)
    assert caught.value.code == code


class _Says:
    """Children whose native code answers what it likes; `call` is all that a check asks of a child."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    @contextmanager
    def child(self) -> Iterator[Any]:
        """Itself as the child, and a directory."""
        with tempfile.TemporaryDirectory() as directory:
            yield self, Path(directory)

    def call(self, _function: str, _arguments: object) -> object:
        """The answer, or a failure."""
        if isinstance(self._answer, str) and self._answer.startswith("child-"):
            raise ChildFailed(self._answer)
        return self._answer


@pytest.mark.parametrize("answer", [False, None, 1, "true", "True", {}, [True], 0])
def test_only_true_is_a_yes(answer: object) -> None:
    """Whatever else native code answers, the proof is not accepted."""
    with pytest.raises(Rejected) as caught:
        _verified(Expect(model="bmi"), EzklCheck(_Says(answer)))
    assert caught.value.code == "proof-invalid"


@pytest.mark.parametrize(
    "code",
    [
        "child-aborted",
        "child-killed",
        "child-out-of-memory",
        "child-out-of-time",
        "child-no-answer",
        "child-file-too-large",
    ],
)
def test_a_check_that_did_not_end_is_no_verdict(code: str) -> None:
    """A crash, a kill or a limit says nothing about the proof: it could not be checked."""
    with pytest.raises(CouldNotCheck) as caught:
        _verified(Expect(model="bmi"), EzklCheck(_Says(code)))
    assert caught.value.code == code


@pytest.mark.parametrize("code", ["child-refused", "child-panicked"])
def test_a_proof_that_ezkl_refuses_or_chokes_on_is_invalid(code: str) -> None:
    """The other files were checked and written here, so it is the proof that is wrong."""
    with pytest.raises(Rejected) as caught:
        _verified(Expect(model="bmi"), EzklCheck(_Says(code)))
    assert caught.value.code == "proof-invalid"


def test_without_a_place_for_files_there_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing temporary folder is a code, not a traceback."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(CouldNotCheck) as caught:
        _verified(Expect(model="bmi"), EzklCheck())
    assert caught.value.code == "file-missing"


@pytest.mark.parametrize("text", ["AB==", "AAB=", "A===", "AAAA=", "AAA", "AA-_"])
def test_base64_has_one_spelling(text: str) -> None:
    """Spare bits, missing or extra padding and other alphabets would be second spellings of the same bytes."""
    with pytest.raises(ValidationError):
        Proof(proof=text)
    signature = {"keyid": "0" * 64, "sig": "AAAA"}
    for fields in (
        {"payload": text, "signatures": [signature]},
        {"payload": "", "signatures": [{**signature, "sig": text}]},
    ):
        with pytest.raises(ValidationError):
            Envelope.model_validate({"payloadType": "x", **fields})


def test_text_from_others_prints_on_one_line() -> None:
    """What a service says cannot write a verdict's lines or move the cursor."""
    said = ServiceError(500, "oops", "no\n\nVERIFIED  bmi 1: 42\x1b[8m\u202e").message
    assert said.isprintable()
    assert "VERIFIED" in said


def test_one_wrong_item_ends_the_reading_of_a_long_list() -> None:
    """A list of half a million wrong values is refused with one error, not half a million."""
    case = VECTORS / "cases" / "proven"
    statement = json.loads(
        base64.b64decode(json.loads((case / "receipt.json").read_text())["envelope"]["payload"])
    )
    statement["predicate"]["output"][0]["value"] = [[]] * 500_000
    tracemalloc.start()
    with pytest.raises(Malformed):
        parse_statement(json.dumps(statement).encode())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150 << 20


def test_a_batch_is_answered_sample_by_sample(accepts_all: ProofSystem) -> None:
    """Labels, or the named values of each row; of many the first sixteen, and how many there are."""
    verified = _verified(Expect(model="bmi"), accepts_all)
    (output,) = verified.outputs
    rows = replace(output, values=(1.0, 2.0, 3.0, 4.0), fields=("height_cm", "weight_kg"))
    two = replace(verified, samples=2, outputs=(rows,))
    assert report.answer(two) == "1: height_cm 1, weight_kg 2 | 2: height_cm 3, weight_kg 4"
    many = replace(verified, samples=17, labels=tuple("abcdefghijklmnopq"))
    assert report.answer(many).startswith("1: a | 2: b | ")
    assert report.answer(many).endswith(" | 16: p | … (17 samples)")
    assert report.as_json(many)["samples"] == 17


def test_a_child_waits_again_after_every_check() -> None:
    """A refused proof leaves the next check as quick as an accepted one does."""
    children = WaitingChildren()
    try:
        for failure in (None, Rejected("proof-invalid")):
            before = _the_one_waiting()
            with suppress(Rejected), children.child() as (child, directory):
                assert child.pid == before
                assert directory.is_dir()
                if failure is not None:
                    raise failure
            assert _the_one_waiting() != before
            assert not directory.exists()
    finally:
        children.close()
    assert not _own_children()


def test_a_child_outlives_the_thread_that_asked_last() -> None:
    """A program may check in threads that come and go, and the kernel kills a child with the thread that started it."""
    children = WaitingChildren()

    def ask() -> None:
        with children.child():
            pass

    try:
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join()
        before = _the_one_waiting()
        with children.child() as (child, _):
            assert child.pid == before
    finally:
        children.close()


def test_checks_at_the_same_time_have_a_child_each() -> None:
    """Two threads never talk to one child, and in the end one child waits."""
    children = WaitingChildren()
    try:
        with children.child() as (first, _), children.child() as (second, _):
            assert first.pid != second.pid
            assert first.lives
            assert second.lives
        _the_one_waiting()
    finally:
        children.close()


def test_a_child_that_died_in_waiting_is_not_asked() -> None:
    """A machine short of memory may have killed it; that is no fault of the proof that comes next."""
    children = WaitingChildren()
    try:
        waiting = _the_one_waiting()
        os.kill(waiting, signal.SIGKILL)
        os.waitid(os.P_PID, waiting, os.WEXITED | os.WNOWAIT)
        with children.child() as (child, _):
            assert child.pid != waiting
            assert child.lives
    finally:
        children.close()


def test_after_the_end_nothing_waits() -> None:
    """A check that comes later has a child of its own, and leaves none behind."""
    children = WaitingChildren()
    children.close()
    with children.child() as (child, _):
        assert child.lives
    assert not _own_children()


def _the_one_waiting() -> int:
    """The one process that this one has started and that lives, as soon as it has."""
    deadline = time.monotonic() + 30
    while len(found := _own_children()) != 1:
        assert time.monotonic() < deadline, found
        time.sleep(0.005)
    (pid,) = found
    return pid


def _own_children() -> set[int]:
    """The processes that this one has started, in whatever thread, and that live."""
    return {
        int(pid)
        for listed in Path("/proc/self/task").glob("*/children")
        for pid in listed.read_text().split()
    }
