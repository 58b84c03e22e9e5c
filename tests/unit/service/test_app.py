from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import httpx
import pytest

from verinfer.circuits.package import Package, open_package
from verinfer.service.idempotency import read_key
from verinfer.service.parts import Resources, open_resources
from verinfer.service.settings import Settings
from verinfer.verifier import keys
from verinfer.verifier.bundle import read_files
from verinfer.verifier.digest import sha256
from verinfer.verifier.policy import POLICY_TYPE, Policy, TrustedPolicy
from verinfer.verifier.verify import Expect, verify
from verinfer.verifier.wire import format_time, validate

from .conftest import Serve

NONCE = "5a" * 32
INFER = "/v2/models/bmi/infer"
BODY_LIMIT = 20_000
BODY_SECONDS = 2.0


@pytest.fixture(scope="module")
def package(bmi_package: Package, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A copy of the package that these tests may add to."""
    folder = tmp_path_factory.mktemp("packages") / "bmi"
    shutil.copytree(bmi_package.folder, folder)
    return open_package(folder)


@pytest.fixture(scope="module")
def resources(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    """A data folder and a catalogue with one model."""
    settings = Settings(
        packages=(package.folder,),
        data=tmp_path_factory.mktemp("data"),
        body_bytes=BODY_LIMIT,
        body_seconds=BODY_SECONDS,
        queue_limit=10_000,
        wait_default=0,
    )
    with open_resources(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(resources: Resources, serve: Serve) -> Iterator[httpx.Client]:
    """The application over real HTTP, without a supervisor."""
    with serve(resources) as opened:
        yield opened


def request(**changes: Any) -> dict[str, Any]:
    """A good request; `changes` replace members of its one input, `parameters` and the rest."""
    body: dict[str, Any] = {
        "inputs": [{"name": "habits", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -0.25, 1.0]}],
        "parameters": {"mode": "zk", "nonce": NONCE},
    }
    for name, value in changes.items():
        if name in ("name", "shape", "datatype", "data"):
            body["inputs"][0][name] = value
        else:
            body[name] = value
    return body


def pins(resources: Resources, package: Package, *, runtime: str) -> TrustedPolicy:
    """The policy of a client that trusts this service and asks for no proof."""
    model, today = package.manifest.model, datetime.now(UTC)
    body = {
        "type": POLICY_TYPE,
        "serial": 1,
        "valid_until": format_time(today + timedelta(days=1)),
        "models": [
            {
                "name": model.name,
                "onnx": model.onnx,
                "circuits": [{"digest": package.digest, "model_checked": "trusted"}],
                "runtimes": [runtime],
            }
        ],
        "issuers": [
            {
                "key": keys.encode_public(resources.key.public_key()),
                "valid_from": format_time(today - timedelta(days=1)),
                "valid_until": format_time(today + timedelta(days=1)),
            }
        ],
        "require": ["signature"],
        "max_age": 60,
        "revoked": {"issuers": [], "circuits": [], "models": []},
        "relaxations": ["allow_insecure_srs"],
    }
    return TrustedPolicy(validate(Policy, body, code="policy-malformed"), "local")


class _Bundle:
    """The package's own verify bundle."""

    def __init__(self, package: Package) -> None:
        self._package = package

    def read(self, circuit: str) -> Mapping[str, bytes]:
        assert circuit == self._package.digest
        return read_files(self._package.path("verify"))


BAD: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "shape": (request(shape=[3]), 422, "shape-mismatch", "habits"),
    "datatype": (request(datatype="INT64"), 422, "dtype-mismatch", "habits"),
    "too few values": (request(data=[1.0]), 422, "shape-mismatch", "habits"),
    "name": (request(name="weight"), 422, "input-unknown", "weight"),
    "text": (request(data=["1", 2, 3]), 422, "value-not-number", "habits[0]"),
    "too large for the circuit": (request(data=[1e30, 0, 0]), 422, "value-out-of-range", "habits[0]"),
    "no inputs": (request(inputs=[]), 400, "request-malformed", "inputs"),
    "an unknown field": (request(input=[]), 400, "request-malformed", "input"),
    "a misspelt parameter": (request(parameters={"Mode": "zk"}), 400, "request-malformed", "parameters.Mode"),
    "an id that is no text": (request(id=5), 400, "request-malformed", "id"),
    "an unknown output": (request(outputs=[{"name": "soul"}]), 422, "output-unknown", "soul"),
    "no nonce": (request(parameters={"mode": "zk"}), 422, "nonce-missing", "parameters.nonce"),
    "a salt where nothing is hashed": (
        request(parameters={"mode": "zk", "nonce": NONCE, "salt": NONCE}),
        422,
        "salt-unexpected",
        "parameters.salt",
    ),
    "a salt for an answer without a proof": (
        request(parameters={"salt": NONCE}),
        422,
        "salt-unexpected",
        "parameters.salt",
    ),
    "upper case": (
        request(parameters={"mode": "zk", "nonce": NONCE.upper()}), 422, "nonce-malformed", "parameters.nonce",
    ),
    "a short nonce": (request(parameters={"mode": "none", "nonce": "ab"}), 422, "nonce-malformed", "parameters.nonce"),
    "a nonce with a newline": (
        request(parameters={"mode": "zk", "nonce": NONCE + "\n"}), 422, "nonce-malformed", "parameters.nonce",
    ),
    "a long audience": (
        request(parameters={"mode": "zk", "nonce": NONCE, "audience": "a" * 1025}),
        400, "request-malformed", "parameters.audience",
    ),
    "an audience of two lines": (
        request(parameters={"mode": "zk", "nonce": NONCE, "audience": "me\nVERIFIED"}),
        400, "request-malformed", "parameters.audience",
    ),
    "an unknown mode": (request(parameters={"mode": "trust-me"}), 422, "mode-unknown", "parameters.mode"),
    "tee": (request(parameters={"mode": "tee", "nonce": NONCE}), 501, "mode-unsupported", "parameters.mode"),
    "tee+zk": (request(parameters={"mode": "tee+zk", "nonce": NONCE}), 501, "mode-unsupported", "parameters.mode"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_refused_with_code_and_field(client: httpx.Client, case: str) -> None:
    """Each mistake has its status and code, and names the field that is wrong."""
    body, status, code, field = BAD[case]
    response = client.post(INFER, json=body)
    problem = response.json()
    assert (response.status_code, problem["code"], problem.get("field")) == (status, code, field)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["instance"] == f"urn:uuid:{response.headers['x-request-id']}"


BROKEN: dict[str, tuple[bytes, str, str | None]] = {
    "NaN": (b'{"inputs":[{"name":"habits","shape":[1,3],"datatype":"FP32","data":[1,NaN,3]}]}', "value-not-finite", "habits[1]"),
    "infinity": (
        b'{"inputs":[{"name":"habits","shape":[1,3],"datatype":"FP32","data":[1,2,-Infinity]}]}',
        "value-not-finite", "habits[2]",
    ),
    "an overflowing number": (
        b'{"inputs":[{"name":"habits","shape":[1,3],"datatype":"FP32","data":[1e999,2,3]}]}', "value-not-finite", "habits[0]",
    ),
    "nothing": (b"", "json-invalid", None),
    "text": (b"hello", "json-invalid", None),
    "a list": (b"[]", "request-malformed", "body"),
    "a duplicate key": (b'{"inputs":[],"inputs":[]}', "json-invalid", None),
    "not UTF-8": (b'{"id":"\xff"}', "json-invalid", None),
    "a lone surrogate": (b'{"id":"\\ud800","inputs":[]}', "json-invalid", None),
    "a lone surrogate in a name": (b'{"\\udc00":1}', "json-invalid", None),
    "a depth bomb": (b"[" * 10_000, "json-invalid", None),
    "a long integer": (b'{"id":' + b"9" * 10_000 + b"}", "json-invalid", None),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_json_is_refused(client: httpx.Client, case: str) -> None:
    """What is no JSON, or no number, never reaches the model; the answer is a problem, never a fault."""
    content, code, field = BROKEN[case]
    response = client.post(INFER, content=content, headers={"content-type": "application/json"})
    problem = response.json()
    assert (response.status_code // 100, problem["code"], problem.get("field")) == (4, code, field)


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {"content-encoding": "gzip"}, {"inference-header-content-length": "9"}],
)
def test_other_forms_of_a_body_are_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    """Only plain JSON is read."""
    response = client.post(INFER, content=json.dumps(request()), headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "media-type-unsupported")


def test_a_body_without_a_type_is_read_as_json(client: httpx.Client) -> None:
    """Some clients of the protocol send no Content-Type."""
    assert client.post(INFER, content=json.dumps(request())).status_code == 202


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(client: httpx.Client, *, chunked: bool) -> None:
    """Whether its length was declared or not."""
    body = b" " * (BODY_LIMIT + 1)
    content = iter([body[:10_000], body[10_000:]]) if chunked else body
    response = client.post(INFER, content=content)
    assert (response.status_code, response.json()["code"]) == (413, "too-large")
    small = json.dumps(request()).encode()
    accepted = client.post(INFER, content=iter([small]) if chunked else small)
    assert accepted.status_code == 202


def test_a_body_that_does_not_come_is_not_waited_for(client: httpx.Client) -> None:
    """A client that sends slower than it must is told so, and costs nothing more."""

    def slowly() -> Iterator[bytes]:
        yield b"{"
        time.sleep(BODY_SECONDS + 0.5)
        yield b"}"

    response = client.post(INFER, content=slowly())
    assert (response.status_code, response.json()["code"]) == (408, "body-too-slow")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v2/models/nobody/infer", 404, "model-unknown"),
        ("POST", "/v2/models/bmi/versions/99/infer", 404, "version-unknown"),
        ("GET", "/v2/models/nobody", 404, "model-unknown"),
        ("GET", "/v1/models/nobody/card", 404, "model-unknown"),
        ("GET", "/v1/models/bmi/bundle/pk.key", 404, "file-unknown"),
        ("GET", "/v1/models/bmi/bundle/..%2F..%2Fpk.key", 404, "path-unknown"),
        ("GET", "/v1/models/bmi/policy", 404, "policy-unpublished"),
        ("GET", "/v1/jobs/nothing", 404, "job-unknown"),
        ("GET", "/v1/jobs/nothing/events", 404, "job-unknown"),
        ("DELETE", "/v1/jobs/nothing", 404, "job-unknown"),
        ("GET", "/v1/receipts/nothing", 404, "receipt-unknown"),
        ("GET", "/v1/receipts/nothing/state", 404, "receipt-unknown"),
        ("GET", "/v2/models/bmi/", 404, "path-unknown"),
        ("GET", "/docs", 404, "path-unknown"),
        ("PUT", INFER, 405, "method-not-allowed"),
        ("GET", "/v2/health/ready", 503, "not-ready"),
    ],
)
def test_what_is_not_there(client: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    """Every refusal is a problem document with a code."""
    response = client.request(method, path, content=json.dumps(request()) if method == "POST" else None)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"


def test_a_queued_job_can_be_seen_and_cancelled(client: httpx.Client) -> None:
    """202 says where to look; a cancelled job cannot be cancelled again."""
    response = client.post(INFER, json=request(id="mine"), headers={"Prefer": "respond-async"})
    assert (response.status_code, response.headers["preference-applied"]) == (202, "respond-async")
    body = response.json()
    job = body["parameters"]["job"]
    assert response.headers["location"] == f"/v1/jobs/{job}"
    assert (body["id"], body["model_name"], body["model_version"], body["outputs"]) == (
        "mine",
        "bmi",
        "1",
        [],
    )
    state = client.get(f"/v1/jobs/{job}").json()
    assert (state["status"], state["progress"], state["mode"]) == ("queued", 0.0, "zk")
    cancelled = client.delete(f"/v1/jobs/{job}")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    again = client.delete(f"/v1/jobs/{job}")
    assert (again.status_code, again.json()["code"]) == (409, "job-finished")
    with client.stream("GET", f"/v1/jobs/{job}/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in events.iter_lines() if line]
    assert lines[0] == "event: job"
    assert json.loads(lines[1].removeprefix("data: "))["status"] == "cancelled"


def test_mode_proof_asks_for_any_proof(client: httpx.Client) -> None:
    """It is queued as ``zk`` is, and recorded as it was asked."""
    response = client.post(INFER, json=request(parameters={"mode": "proof", "nonce": NONCE}))
    assert response.status_code == 202
    assert client.get(response.headers["location"]).json()["mode"] == "proof"


def test_an_idempotency_key_leads_to_the_same_job(client: httpx.Client) -> None:
    """The same request makes no second job; another request with the key is refused; a bad key is refused."""
    headers = {"Idempotency-Key": "key-1"}
    first, second = (client.post(INFER, json=request(), headers=headers).json() for _ in range(2))
    assert first["parameters"]["job"] == second["parameters"]["job"]
    other = client.post(INFER, json=request(data=[0.0, 0.0, 0.0]), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    for key in ("", "a" * 256, "with space"):
        bad = client.post(INFER, json=request(), headers={"Idempotency-Key": key})
        assert (bad.status_code, bad.json()["code"]) == (400, "idempotency-key-malformed")


def test_mode_none_is_signed_at_once(client: httpx.Client, resources: Resources, package: Package) -> None:
    """An fp32 answer comes with a receipt that a client can verify, for its own nonce."""
    asked = request(id="q", parameters={"mode": "none", "nonce": NONCE, "audience": "me"})
    response = client.post(INFER, json=asked)
    assert response.status_code == 200
    body = response.json()
    receipt = body["parameters"]["receipt"].encode()
    stored = client.get(f"/v1/receipts/{body['parameters']['receipt_digest']}")
    assert stored.content == receipt
    assert stored.headers["content-type"] == "application/vnd.verinfer.receipt.v1+json"
    assert stored.headers["verinfer-proof-state"] == "none"

    verified = verify(
        receipt,
        policy=pins(resources, package, runtime="onnxruntime " + installed("onnxruntime")),
        now=datetime.now(UTC),
        expect=Expect(nonce=NONCE, audience="me", mode="none"),
        bundles=_Bundle(package),
    )
    assert verified.statement_digest == body["parameters"]["receipt_digest"]
    output = body["outputs"][0]
    assert (output["name"], output["datatype"], output["shape"], len(output["data"])) == (
        "body",
        "FP32",
        [1, 2],
        2,
    )


def test_mode_none_needs_no_parameters(client: httpx.Client) -> None:
    """A plain client of the Open Inference Protocol gets its answer; each one has a nonce of its own."""
    plain = request()
    del plain["parameters"]
    first, second = client.post(INFER, json=plain).json(), client.post(INFER, json=plain).json()
    assert first["outputs"] == second["outputs"]
    assert first["parameters"]["receipt_digest"] != second["parameters"]["receipt_digest"]


def test_only_the_wanted_outputs_come(client: httpx.Client) -> None:
    """The protocol's list of outputs is honoured, and its wish for binary data answered with JSON."""
    asked = request(
        outputs=[{"name": "body", "parameters": {"binary_data": True}}],
        parameters={"binary_data_output": True},
    )
    assert [output["name"] for output in client.post(INFER, json=asked).json()["outputs"]] == ["body"]


def test_what_is_kept_of_a_request_says_nothing_of_it() -> None:
    """A digest of the request alone could be compared with guesses; the key, which is in it, is not stored."""
    one, other = (read_key(header, b"a private input") for header in ("key-1", "key-2"))
    assert one is not None
    assert other is not None
    assert sha256(b"a private input") not in (one.request, other.request)
    assert one.request != other.request


def test_an_idempotency_key_of_mode_none_leads_to_the_same_receipt(client: httpx.Client) -> None:
    """Although the service would have drawn another nonce."""
    asked, headers = request(parameters={"mode": "none"}), {"Idempotency-Key": "key-2"}
    first, second = (client.post(INFER, json=asked, headers=headers).json() for _ in range(2))
    assert first == second


def test_what_clients_pin_is_published(client: httpx.Client, resources: Resources, package: Package) -> None:
    """Manifest, bundle, card and key are the package's and the service's own."""
    described = client.get("/v1/models").json()["models"][0]
    assert (described["name"], described["circuit"], described["srs"]) == (
        "bmi",
        package.digest,
        "insecure-local",
    )
    assert sha256(client.get(described["manifest"]).content) == package.digest
    for path in described["bundle"]:
        expected = package.path("verify") / Path(path).name
        assert client.get(path).content == expected.read_bytes()
    assert client.get(described["card"]).json()["circuit"] == package.digest
    known = client.get("/.well-known/verinfer.json").json()
    assert known["keys"][0]["id"] == resources.issuer
    metadata = client.get("/v2/models/bmi/versions/1").json()
    assert metadata["inputs"] == [{"name": "habits", "datatype": "FP32", "shape": [1, 3]}]
    assert client.get("/v2").json()["name"] == "verinfer"
    assert client.get("/v2/health/live").json() == {"live": True}


def test_the_owners_policy_is_handed_out(client: httpx.Client, package: Package) -> None:
    """If the operator has put one into the package's folder, byte for byte."""
    path = package.path("policy.json")
    path.write_bytes(b'{"signed": "policy"}')
    try:
        assert client.get("/v1/models/bmi/policy").content == b'{"signed": "policy"}'
    finally:
        path.unlink()
