"""The client against a service that lies, floods, trickles and forges: a real HTTP server for each case."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from verinfer.verifier import client
from verinfer.verifier.errors import CouldNotCheck, Malformed, UsageError, VerinferError
from verinfer.verifier.manifest import Manifest, parse_manifest

from ...serving import reply, serving

BUNDLES = Path(__file__).parents[2] / "vectors" / "shared" / "bundles"
FORGED = "failed\n\nVERIFIED  bmi 1: 42\x1b[8m\u202e\u2028"

Respond = Callable[[BaseHTTPRequestHandler], None]


def _manifest() -> Manifest:
    found = (parse_manifest(path.read_bytes()) for path in sorted(BUNDLES.glob("*/manifest.json")))
    return next(manifest for manifest in found if manifest.model.name == "bmi")


@contextmanager
def _service(
    submitted: Respond | dict[str, Any], *polled: Respond | dict[str, Any]
) -> Iterator[httpx.Client]:
    """A service that answers the question with `submitted`, and each poll with the next of `polled`, the last for ever."""
    polls = list(polled)

    def respond(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        asked = handler.command == "POST"
        answer = submitted if asked else polls[0] if len(polls) == 1 else polls.pop(0)
        if isinstance(answer, dict):
            reply(handler, json.dumps(answer).encode())
        else:
            answer(handler)

    with serving(respond) as url, httpx.Client(base_url=url, timeout=5) as http:
        yield http


def _ask(http: httpx.Client, *, seconds: float = 20, **options: Any) -> client.Answer:
    sample = {"habits": [7.0, 3.0, 8.0]}
    return client.ask(
        http, "bmi", _manifest(), sample, mode="zk", nonce=client.make_nonce(), seconds=seconds, **options
    )


JOB = {"parameters": {"job": "a1"}}


def test_what_a_service_says_of_an_error_is_one_clean_line() -> None:
    """Code and detail of a problem, and of a job that failed, cannot write lines, move a cursor, or go on for ever."""
    problem = json.dumps({"code": FORGED, "title": FORGED, "detail": FORGED * 100}).encode()
    answers: list[tuple[Respond | dict[str, Any], ...]] = [
        (lambda handler: reply(handler, problem, status=500),),
        (JOB, {"status": "failed", "code": FORGED, "detail": FORGED * 100}),
        (JOB, lambda handler: reply(handler, problem, status=404)),
    ]
    for answer in answers:
        with _service(*answer) as http, pytest.raises(client.ServiceError) as caught:
            _ask(http)
        for said in (caught.value.message, caught.value.service_code, str(caught.value)):
            assert said.isascii()
            assert said.isprintable()
            assert len(said) < 500
        assert caught.value.message.startswith("The service answered ")


def test_a_status_line_of_the_services_own_is_clean() -> None:
    """What the HTTP library quotes of an answer that is none is made printable, too."""

    def nonsense(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"VERIFIED  bmi 1: 42\x1b[8m\r\n\r\n")
        handler.close_connection = True

    with _service(nonsense) as http, pytest.raises(CouldNotCheck) as caught:
        _ask(http)
    assert caught.value.code == "service-unreachable"
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ({"status": "running", "phase": "proving", "progress": 0.5}, ("proving", 0.5)),
        ({"status": "queued"}, ("queued", 0.0)),
        ({"status": "running", "phase": FORGED, "progress": 1e308}, ("working", 1.0)),
        ({"status": "running", "phase": "VERIFIED", "progress": -5}, ("working", 0.0)),
        ({"status": "running", "phase": ["proving"], "progress": "half"}, ("working", 0.0)),
        ({"status": "running", "phase": "x" * 999, "progress": [1]}, ("working", 0.0)),
    ],
)
def test_progress_is_a_word_and_a_fraction(state: dict[str, Any], shown: tuple[str, float]) -> None:
    """A phase is a short word of small letters and progress lies from 0 to 1, whatever the service says."""
    seen: list[tuple[str, float]] = []
    with _service(JOB, state, {"status": "cancelled"}) as http, pytest.raises(client.ServiceError):
        _ask(http, on_progress=lambda phase, fraction: seen.append((phase, fraction)))
    assert seen == [shown]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"parameters": []},
        {"parameters": {"job": "../../v1/models"}},
        {"parameters": {"job": "a" * 65}},
        {"parameters": {"job": "\u0661"}},
        {"parameters": {"receipt": {}}},
    ],
)
def test_an_answer_without_receipt_or_job_is_malformed(answer: dict[str, Any]) -> None:
    """A job's name goes into the next address and into messages, so it is letters and digits."""
    with _service(answer) as http, pytest.raises(Malformed) as caught:
        _ask(http)
    assert caught.value.code == "answer-malformed"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "json-invalid"),
        (b"[" * 100_000, "json-invalid"),
        (b"[]", "answer-malformed"),
        (b'{"parameters": NaN}', "json-invalid"),
        (b"[" + b"[]," * 3_000_000 + b"0]", "too-large"),
        (b'{"a": "' + b"x" * (33 << 20) + b'"}', "too-large"),
    ],
    ids=["nothing", "deep", "a list", "NaN", "millions of lists", "too long"],
)
def test_odd_answers_are_malformed(body: bytes, code: str) -> None:
    """Each has a code; none fills the memory or ends in a traceback."""
    with _service(lambda handler: reply(handler, body)) as http, pytest.raises(Malformed) as caught:
        _ask(http)
    assert caught.value.code == code


def test_nothing_is_unpacked() -> None:
    """A small answer cannot grow in the client: what comes packed although that was not asked for is no answer."""
    packed = gzip.compress(bytes(40 << 20), 1)
    with (
        _service(lambda handler: reply(handler, packed, Content_Encoding="gzip")) as http,
        pytest.raises(Malformed) as caught,
    ):
        _ask(http)
    assert caught.value.code == "json-invalid"


def test_a_trickle_ends_in_time() -> None:
    """A byte now and then does not keep the client beyond the time that its user gave."""

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            handler.close_connection = True

    started = time.monotonic()
    with _service(trickle) as http, pytest.raises(CouldNotCheck) as caught:
        _ask(http, seconds=1)
    assert caught.value.code == "service-too-slow"
    assert time.monotonic() - started < 10


def test_a_sample_is_judged_before_anything_is_sent() -> None:
    """An input that the model does not have, or that is absent, costs no proof."""
    with httpx.Client(base_url="http://127.0.0.1:1") as http:
        for sample, code in (({}, "input-missing"), ({"habits": [1, 2, 3], "x": [1]}, "input-unknown")):
            with pytest.raises(UsageError) as caught:
                client.ask(http, "bmi", _manifest(), sample, mode="zk", nonce=client.make_nonce())
            assert caught.value.code == code
        with pytest.raises(VerinferError) as unreachable:
            _ask(http)
        assert unreachable.value.code == "service-unreachable"
