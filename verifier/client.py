"""Asks a service for a proven answer and gets the receipt; believes nothing until `verify` has.

Takes an `httpx.Client` and raw samples; speaks the Open Inference Protocol v2 and the service's ``/v1`` API.
The nonce is made here, since a nonce that somebody else chose shows no freshness.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from . import preprocess, strict_json
from .digest import is_hex32
from .errors import CouldNotCheck, Malformed
from .model_spec import InputSpec
from .receipt import RECEIPT_LIMIT
from .statement import Mode
from .wire import printable

ANSWER_LIMIT = RECEIPT_LIMIT
_POLL_SECONDS = 0.2
_FINAL = ("succeeded", "failed", "cancelled")

OnProgress = Callable[[str, float], None]
"""Called with the job's phase and the fraction done, 0 to 1."""


class ServiceError(CouldNotCheck):
    """The service refused or failed; `service_code` is its problem's stable code (RFC 9457)."""

    def __init__(self, status: int, service_code: str, detail: str) -> None:
        said = printable(f"{status} {service_code}: {detail}")
        super().__init__("service-refused", f"The service answered {said}")
        self.status = status
        self.service_code = service_code


@dataclass(frozen=True, slots=True)
class Answer:
    """A receipt as it came, not yet verified, and the nonce that it must answer."""

    receipt: bytes
    nonce: str


def make_nonce() -> str:
    """32 fresh random bytes, as 64 hex digits."""
    return secrets.token_hex(32)


def ask(
    client: httpx.Client,
    model: str,
    inputs: Sequence[InputSpec],
    sample: Mapping[str, Sequence[float | int]],
    *,
    mode: Mode,
    nonce: str,
    audience: str | None = None,
    seconds: float = 3600,
    on_progress: OnProgress = lambda _phase, _fraction: None,
) -> Answer:
    """Send one raw sample and wait for the receipt.

    `inputs` come from a manifest that the caller trusts: they say how a raw sample becomes tensors.
    Raises `ServiceError`, `CouldNotCheck` (``service-unreachable``, ``service-too-slow``), `Malformed`, `UsageError`.
    """
    deadline = time.monotonic() + seconds
    body = {
        "inputs": [
            {
                "name": spec.name,
                "shape": list(spec.shape),
                "datatype": spec.dtype,
                "data": preprocess.to_input(spec, sample.get(spec.name, ())),
            }
            for spec in inputs
        ],
        "parameters": {"mode": mode, "nonce": nonce, **({"audience": audience} if audience else {})},
    }
    headers = {"Prefer": "respond-async", "Idempotency-Key": secrets.token_hex(16)}
    answer = _json(_send(client, "POST", f"/v2/models/{model}/infer", json=body, headers=headers))
    parameters = answer.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Malformed("answer-malformed")
    if isinstance(receipt := parameters.get("receipt"), str):
        return Answer(receipt.encode("utf-8"), nonce)
    job = parameters.get("job")
    if not isinstance(job, str) or not job.isalnum():
        raise Malformed("answer-malformed", "The service gave neither a receipt nor a job.")
    digest = _await(client, job, deadline, on_progress)
    return Answer(_send(client, "GET", f"/v1/receipts/{digest}"), nonce)


def fetch_policy(client: httpx.Client, model: str) -> bytes:
    """The policy that the service offers for a model: the operator's word, for trust on first use only."""
    return _send(client, "GET", f"/v1/models/{model}/policy")


def fetch_bundle(client: httpx.Client, model: str, names: Sequence[str]) -> dict[str, bytes]:
    """The files of the model's verify bundle; `bundle.open_bundle` compares them with a policy's pin."""
    return {name: _send(client, "GET", f"/v1/models/{model}/bundle/{name}") for name in names}


def _await(client: httpx.Client, job: str, deadline: float, on_progress: OnProgress) -> str:
    while True:
        state = _json(_send(client, "GET", f"/v1/jobs/{job}"))
        status = state.get("status")
        if status == "succeeded":
            digest = state.get("receipt_digest")
            if not isinstance(digest, str) or not is_hex32(digest):
                raise Malformed("answer-malformed", "The job has no receipt.")
            on_progress("done", 1.0)
            return digest
        if status in _FINAL:
            code, detail = str(state.get("code", status)), str(state.get("detail", "the job did not succeed"))
            raise ServiceError(200, code, detail)
        if time.monotonic() > deadline:
            raise CouldNotCheck("service-too-slow", f"Job {job} goes on; ask again for /v1/jobs/{job}.")
        progress = state.get("progress")
        on_progress(
            printable(str(state.get("phase") or status)), progress if isinstance(progress, float) else 0.0
        )
        time.sleep(_POLL_SECONDS)


def _send(client: httpx.Client, method: str, path: str, **options: Any) -> bytes:
    try:
        with client.stream(method, path, **options) as response:
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > ANSWER_LIMIT:
                    raise Malformed("too-large", "The service's answer is too large.")
    except httpx.HTTPError as error:
        raise CouldNotCheck(
            "service-unreachable", f"{client.base_url}: {str(error) or type(error).__name__}."
        ) from error
    if response.status_code >= 400:
        raise _problem(response.status_code, data)
    return data


def _problem(status: int, data: bytes) -> ServiceError:
    try:
        problem = _json(data)
    except Malformed:
        problem = {}
    return ServiceError(
        status, str(problem.get("code", "unknown"))[:64], str(problem.get("detail", ""))[:500]
    )


def _json(data: bytes) -> dict[str, Any]:
    value = strict_json.parse(data, limit=ANSWER_LIMIT, floats=True)
    if not isinstance(value, dict):
        raise Malformed("answer-malformed")
    return value
