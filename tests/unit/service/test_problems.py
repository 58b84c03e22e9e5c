from __future__ import annotations

import asyncio
import json

import pytest
from starlette.requests import Request

from verinfer.service import problems
from verinfer.service.errors import SERVICE_CODES, Refused, describe
from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import CODES, UsageError, VerinferError

REQUEST = Request({"type": "http", "headers": []})


def test_every_code_has_a_status() -> None:
    """The table holds each code of the service and the verifier, once, and nothing else."""
    assert set(problems.STATUS) == set(CODES) | set(SERVICE_CODES)
    assert len(problems.STATUS) == sum(len(codes.split()) for codes in problems._CODES.values())  # noqa: SLF001 - only the source shows a code that stands twice


def test_the_services_codes_are_its_own() -> None:
    """No code means one thing here and another in the verifier."""
    assert not set(CODES) & set(SERVICE_CODES)


@pytest.mark.parametrize("code", sorted(SERVICE_CODES))
def test_an_error_can_be_made_of_every_code_of_the_service(code: str) -> None:
    """Code, meaning and message agree."""
    error = Refused(code)
    assert (error.code, error.message) == (code, describe(code))


def test_an_undeclared_code_is_a_fault() -> None:
    """A misspelt code is found by the first test that meets it."""
    with pytest.raises(KeyError):
        Refused("no-such-code")


def read(error: VerinferError) -> tuple[int, dict[str, object]]:
    """The problem document of an error."""
    response = asyncio.run(problems.on_error(REQUEST, error))
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, json.loads(bytes(response.body))


def test_a_problem_names_code_field_and_what_to_do() -> None:
    """A client's mistake is told with everything that helps to mend it."""
    status, body = read(UsageError("shape-mismatch", "x has the shape [1, 3].", field="x"))
    assert status == 422
    assert body == {
        "type": "urn:verinfer:problem:shape-mismatch",
        "title": CODES["shape-mismatch"],
        "status": 422,
        "code": "shape-mismatch",
        "detail": "x has the shape [1, 3].",
        "field": "x",
        "error": "shape-mismatch: x has the shape [1, 3].",
    }


def test_native_text_is_not_told() -> None:
    """What native code says may hold values and paths; a client gets the code alone."""
    status, body = read(ChildFailed("child-panicked", detail="value 1234567 in /srv/secret"))
    assert status == 500
    assert "1234567" not in json.dumps(body)


def test_a_fault_of_ours_shows_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown exception becomes ``internal``; its text goes to the log only."""
    response = asyncio.run(problems.on_fault(REQUEST, ValueError("private detail")))
    assert response.status_code == 500
    assert b"private detail" not in bytes(response.body)
    assert "private detail" in caplog.text


def test_a_full_queue_says_when_to_come_back() -> None:
    """A client knows how long to wait."""
    response = problems.problem("queue-full")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
