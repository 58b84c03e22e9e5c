"""Asks a service for a proven answer and gets the receipt; believes nothing until `verify` has.

Takes an `httpx.Client` and raw samples; speaks the Open Inference Protocol v2 and the service's ``/v1`` API.
The nonce is made here, since a nonce that somebody else chose shows no freshness.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from . import preprocess, strict_json
from .bundle import FILE_LIMITS, MANIFEST
from .digest import is_hex32
from .errors import CouldNotCheck, Malformed, UsageError
from .manifest import MANIFEST_LIMIT, Manifest, parse_manifest
from .receipt import RECEIPT_LIMIT
from .statement import Mode
from .wire import printable

ANSWER_LIMIT = RECEIPT_LIMIT
_POLL_SECONDS = 0.2
_FETCH_SECONDS = 600
_FINAL = ("succeeded", "failed", "cancelled")
_JOB = re.compile(r"[0-9A-Za-z]{1,64}")
_PHASE = re.compile(r"[a-z][a-z-]{0,23}")
"""What a phase looks like; whatever else a service says there is not shown."""

OnProgress = Callable[[str, float], None]
"""Called with the job's phase, a word of small letters, and the fraction done, 0 to 1."""


class ServiceError(CouldNotCheck):
    """The service refused or failed; `service_code` is its problem's stable code (RFC 9457), made printable."""

    def __init__(self, status: int, service_code: str, detail: str) -> None:
        self.status = status
        self.service_code = printable(service_code, most=64)
        said = printable(detail)
        super().__init__("service-refused", f'The service answered {status} {self.service_code}: "{said}".')


@dataclass(frozen=True, slots=True)
class Answer:
    """A receipt as it came, not yet verified, and the nonce that it must answer."""

    receipt: bytes
    nonce: str


def make_nonce() -> str:
    """32 fresh random bytes, as 64 hex digits; a nonce, or a salt."""
    return secrets.token_hex(32)


def ask(
    client: httpx.Client,
    model: str,
    manifest: Manifest,
    sample: Mapping[str, Sequence[float | int]],
    *,
    mode: Mode,
    nonce: str,
    audience: str | None = None,
    salt: str | None = None,
    seconds: float = 3600,
    on_progress: OnProgress = lambda _phase, _fraction: None,
) -> Answer:
    """Send one raw sample, or as many as the circuit takes at once, and wait for the receipt.

    `manifest` is one that the caller trusts: it says how raw samples become tensors. `salt`: 32 bytes in hex that the caller made
    and has kept, for a circuit that hashes its input; without it the hash could never be opened.
    Raises `ServiceError`, `CouldNotCheck` (``service-unreachable``, ``service-too-slow``), `Malformed`, `UsageError`.
    """
    deadline = time.monotonic() + seconds
    preprocess.check_names(manifest.inputs, sample)
    if (manifest.visibility == "hashed") != (salt is not None):
        raise UsageError("usage", "A salt goes with a circuit that hashes its input, and only there.")
    parameters = {"mode": mode, "nonce": nonce, "audience": audience or None, "salt": salt}
    body = {
        "inputs": [
            {
                "name": spec.name,
                "shape": list(tensor.shape),
                "datatype": spec.dtype,
                "data": preprocess.to_input(spec, sample[spec.name], manifest.samples),
            }
            for spec, tensor in zip(manifest.inputs, manifest.tensors("input"), strict=True)
        ],
        "parameters": {name: value for name, value in parameters.items() if value is not None},
    }
    headers = {"Prefer": "respond-async", "Idempotency-Key": secrets.token_hex(16)}
    path = f"/v2/models/{model}/infer"
    answer = read_json(send(client, "POST", path, deadline, json=body, headers=headers))
    found = answer.get("parameters", {})
    if not isinstance(found, dict):
        raise Malformed("answer-malformed")
    if isinstance(receipt := found.get("receipt"), str):
        return Answer(receipt.encode("utf-8"), nonce)
    state = wait_for_job(client, read_job(found.get("job")), deadline, on_progress)
    digest = state.get("receipt_digest")
    if not isinstance(digest, str) or not is_hex32(digest):
        raise Malformed("answer-malformed", "The job has no receipt.")
    return Answer(send(client, "GET", f"/v1/receipts/{digest}", deadline), nonce)


def fetch_policy(client: httpx.Client, model: str) -> bytes:
    """The policy that the service offers for a model: the operator's word, for trust on first use only."""
    return send(client, "GET", f"/v1/models/{model}/policy", time.monotonic() + _FETCH_SECONDS)


def fetch_bundle(client: httpx.Client, model: str, deadline: float | None = None) -> dict[str, bytes]:
    """The files of a verify bundle, as its manifest names them; `bundle.open_bundle` compares them with a policy's pin.

    `model` is a name, or ``NAME/versions/VERSION``. Raises what `send` and `parse_manifest` raise.
    """
    deadline = deadline or time.monotonic() + _FETCH_SECONDS

    def fetch(name: str, limit: int) -> bytes:
        data = bytearray()
        receive(client, "GET", f"/v1/models/{model}/bundle/{name}", deadline, data.extend, limit)
        return bytes(data)

    manifest = fetch(MANIFEST, MANIFEST_LIMIT)
    limits = FILE_LIMITS[parse_manifest(manifest).proof_system.name]
    return {MANIFEST: manifest, **{name: fetch(name, limit) for name, limit in limits.items()}}


def wait_for_job(client: httpx.Client, job: str, deadline: float, on_progress: OnProgress) -> dict[str, Any]:
    """The job's state once it has succeeded; `deadline` is a time of ``time.monotonic``.

    Raises `ServiceError` with the job's code if it failed, `CouldNotCheck` (``service-too-slow``, ``service-unreachable``).
    """
    while True:
        state = read_json(send(client, "GET", f"/v1/jobs/{job}", deadline))
        status = state.get("status")
        if status == "succeeded":
            on_progress("done", 1.0)
            return state
        if status in _FINAL:
            code, detail = str(state.get("code", status)), str(state.get("detail", "the job did not succeed"))
            raise ServiceError(200, code, detail)
        if time.monotonic() > deadline:
            raise CouldNotCheck("service-too-slow", f"Job {job} goes on; ask again for /v1/jobs/{job}.")
        on_progress(_phase(state), _fraction(state))
        time.sleep(_POLL_SECONDS)


def read_job(value: object) -> str:
    """A job's id, as the service gave it; raises `Malformed` (``answer-malformed``)."""
    if not isinstance(value, str) or not _JOB.fullmatch(value):
        raise Malformed("answer-malformed", "The service gave neither a receipt nor a job.")
    return value


def _phase(state: dict[str, Any]) -> str:
    phase = state.get("phase") or state.get("status")
    return phase if isinstance(phase, str) and _PHASE.fullmatch(phase) else "working"


def _fraction(state: dict[str, Any]) -> float:
    progress = state.get("progress")
    return min(max(float(progress), 0.0), 1.0) if isinstance(progress, (int, float)) else 0.0


def send(client: httpx.Client, method: str, path: str, deadline: float, **options: Any) -> bytes:
    """One request; neither a flood, a trickle nor a packed answer takes more than the limits.

    Raises `ServiceError`, `CouldNotCheck` (``service-unreachable``, ``service-too-slow``), `Malformed` (``too-large``).
    """
    data = bytearray()
    receive(client, method, path, deadline, data.extend, ANSWER_LIMIT, **options)
    return bytes(data)


def receive(
    client: httpx.Client,
    method: str,
    path: str,
    deadline: float,
    take: Callable[[bytes], object],
    limit: int,
    **options: Any,
) -> None:
    """One request, whose answer goes to `take` chunk by chunk, at most `limit` bytes; raises what `send` raises."""
    headers = {**options.pop("headers", {}), "Accept-Encoding": "identity"}
    received, refusal = 0, bytearray()
    try:
        with client.stream(method, path, headers=headers, **options) as response:
            refused = response.status_code >= 400
            for chunk in response.iter_raw():
                received += len(chunk)
                if received > (ANSWER_LIMIT if refused else limit):
                    raise Malformed("too-large", "The service's answer is too large.")
                if time.monotonic() > deadline:
                    raise CouldNotCheck("service-too-slow", "The service did not end its answer in time.")
                (refusal.extend if refused else take)(chunk)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        said = printable(str(error)) or type(error).__name__
        raise CouldNotCheck("service-unreachable", f"{client.base_url}: {said}.") from error
    if refused:
        raise _problem(response.status_code, bytes(refusal))


def _problem(status: int, data: bytes) -> ServiceError:
    try:
        problem = read_json(data)
    except Malformed:
        problem = {}
    return ServiceError(status, str(problem.get("code", "unknown")), str(problem.get("detail", "")))


def read_json(data: bytes) -> dict[str, Any]:
    """An answer that is a JSON object; raises `Malformed`."""
    value = strict_json.parse(data, limit=ANSWER_LIMIT, what="service's answer", floats=True)
    if not isinstance(value, dict):
        raise Malformed("answer-malformed")
    return value
