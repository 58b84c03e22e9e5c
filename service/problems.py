"""Errors as problem documents (RFC 9457): one table from codes to HTTP statuses, and the one place that writes them.

Every code is in the table, ours and the verifier's, so that nothing is answered by accident; a test compares the lists.
"""

from __future__ import annotations

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from verinfer.verifier.errors import VerinferError

from . import logs
from .errors import Refused, describe

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_CODES: dict[int, str] = {
    400: "idempotency-key-malformed json-invalid request-malformed",
    403: "origin-refused uploads-off",
    404: "contract-too-large file-unknown inputs-hidden job-unknown model-unknown not-on-chain outputs-unlike path-unknown"
    " policy-unpublished receipt-unknown version-unknown",
    405: "method-not-allowed",
    408: "body-too-slow",
    409: "job-cancelled job-finished model-exists",
    410: "circuit-gone",
    413: "too-large",
    415: "media-type-unsupported",
    422: "dtype-mismatch idempotency-key-reused input-missing input-unknown mode-unknown nonce-malformed nonce-missing"
    " not-zero-knowledge output-not-finite output-unknown salt-malformed salt-missing salt-unexpected shape-mismatch"
    " value-not-finite value-not-integer value-not-number value-out-of-range"
    # of an upload
    " model-refused model-too-large model-unsupported no-circuit sample-malformed spec-malformed target-malformed usage",
    501: "contract-unsupported mode-unsupported",
    503: "child-killed contract-building not-ready queue-full",
    504: "child-out-of-time",
    507: "disk-full store-full",
    # Failures of the service's own parts, which no other request would avoid.
    500: "artifact-torn child-aborted child-cancelled child-file-too-large child-no-answer child-out-of-memory"
    " child-panicked child-refused circuit-inconsistent file-missing internal jail-unavailable kernels-missing lease-lost"
    " native-missing not-writable proof-invalid"
    # What only its command line, or a client of it, says; here it would be a fault of ours.
    " account-missing address-in-use answer-malformed audience-mismatch bundle-mismatch bundle-missing circuit-not-pinned"
    " circuit-revoked data-dir-in-use data-dir-unusable demo-failed envelope-malformed evidence-malformed"
    " evidence-missing evidence-unsupported exists export-differs input-mismatch input-undisclosed insecure-srs"
    " issued-in-future issuer-mismatch issuer-not-valid-then issuer-revoked issuer-unknown key-malformed manifest-malformed"
    " mode-mismatch model-ambiguous model-mismatch model-not-pinned model-revoked nonce-mismatch"
    " not-fit not-reproduced package-malformed package-repeated policy-expired policy-malformed"
    " policy-rollback policy-signature-invalid proof-for-wrong-runtime receipt-malformed rewrite-differs rewrite-unknown"
    " runtime-not-pinned service-refused service-too-slow service-unreachable settings-malformed signature-invalid"
    " srs-malformed srs-missing statement-malformed statement-subject-mismatch tensors-mismatch too-old"
    " visibility-mismatch"
    # of contracts
    " chain-refused chain-reverted chain-too-slow chain-unreachable code-mismatch contract-differs contract-malformed"
    " fee-too-high node-missing not-deployed solc-failed solc-missing"
    # of our own proof system
    " description-malformed proof-system-not-accepted security-too-low system-unsuitable",
}

STATUS: dict[str, int] = {code: status for status, codes in _CODES.items() for code in codes.split()}
"""The HTTP status of each code."""

_RETRY_SECONDS = {503: "5", 507: "60"}
"""After which time the same request may go better."""


def problem(code: str, detail: str = "", *, field: str | None = None, **members: Any) -> JSONResponse:
    """The problem document of `code`; `members` are added to it, and left out where None."""
    status = STATUS[code]
    title = describe(code)
    identity = logs.request_id.get()
    body = {
        "type": f"urn:verinfer:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail or title,
        "field": field,
        "instance": f"urn:uuid:{identity}" if identity else None,
        # Clients of the Open Inference Protocol read this member.
        "error": f"{code}: {detail or title}",
        **members,
    }
    headers = {"Retry-After": _RETRY_SECONDS[status]} if status in _RETRY_SECONDS else None
    present = {name: value for name, value in body.items() if value is not None}
    return JSONResponse(present, status_code=status, headers=headers, media_type=MEDIA_TYPE)


async def on_error(_request: Request, error: Exception) -> JSONResponse:
    """The handler of `VerinferError`. What native code said, and what is our own fault, is not for a client's eyes."""
    assert isinstance(error, VerinferError)
    if STATUS[error.code] >= 500 and not isinstance(error, Refused):
        _log.error("request failed", extra={"facts": {"code": error.code}})
        return problem(error.code)
    return problem(error.code, error.message, field=error.field)


async def on_http_error(_request: Request, error: Exception) -> JSONResponse:
    """The handler of the framework's own refusals: no such path, no such method."""
    assert isinstance(error, HTTPException)
    codes = {404: "path-unknown", 405: "method-not-allowed"}
    response = problem(codes.get(error.status_code, "request-malformed"))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def on_fault(_request: Request, error: Exception) -> JSONResponse:
    """The handler of everything else: a fault of ours, told to the log and not to the client."""
    _log.error("request failed inside the service", exc_info=error)
    return problem("internal")
