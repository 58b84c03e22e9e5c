"""What the service itself refuses: its codes, beside those of `verinfer.verifier.errors`.

A client reads these from problem documents; they never decide about a receipt.
"""

from __future__ import annotations

from verinfer.verifier.errors import CODES, VerinferError

SERVICE_CODES: dict[str, str] = {
    # the request
    "request-malformed": "The body does not have the fields of this call.",
    "media-type-unsupported": "The body is not of the media type that is read here, or it is encoded.",
    "body-too-slow": "The body did not arrive in the time allowed.",
    "path-unknown": "There is nothing at this path.",
    "method-not-allowed": "This path does not take that method.",
    "model-unknown": "There is no model of that name here.",
    "version-unknown": "There is no such version of this model here.",
    "output-unknown": "The model has no output of that name.",
    "value-not-number": "A tensor holds something that is not a number.",
    "mode-unknown": "There is no mode of that name.",
    "mode-unsupported": "This service does not offer that mode.",
    "nonce-missing": "A proof needs a nonce that the client chose.",
    "nonce-malformed": "A nonce is 32 bytes as 64 lower-case hex digits.",
    "salt-missing": "A hash of an input hides it only with a salt that the client chose.",
    "salt-unexpected": "This circuit does not hash its input, so a salt hides nothing.",
    "idempotency-key-malformed": "An idempotency key is 1 to 255 visible ASCII characters.",
    "idempotency-key-reused": "This idempotency key was used for another request.",
    # an upload
    "uploads-off": "This service takes no uploads; its operator allows them with 'verinfer serve --allow-uploads'.",
    "origin-refused": "Uploads from web pages are not taken; use 'verinfer upload' or another program.",
    "model-exists": "There is a model of this name and version here, or one is being built; nothing is ever overwritten.",
    "store-full": "There is no room for another model here; its operator has to make some.",
    # what was asked for
    "job-unknown": "There is no job of that id here.",
    "job-finished": "The job has ended and cannot be cancelled.",
    "job-cancelled": "The job was cancelled.",
    "circuit-gone": "The circuit that the job was for is not served any more.",
    "receipt-unknown": "There is no receipt of that digest here.",
    "file-unknown": "The verify bundle has no file of that name.",
    "contract-building": "The contract is being built; ask again in a few seconds.",
    "contract-unsupported": "This service builds no contracts: its machine lacks Node, npm or the extra `evm`. With the verify "
    "bundle anybody builds the same one: 'verinfer contract build'.",
    "policy-unpublished": "No policy is published here; ask the model's owner for it.",
    # the service
    "queue-full": "Too much work is waiting; try again later.",
    "not-ready": "The service is not ready.",
    "output-not-finite": "The model gave a number that is NaN or infinite.",
    "lease-lost": "Another worker has taken the job over.",
    "data-dir-in-use": "Another server uses this data directory.",
    "data-dir-unusable": "The data directory cannot be used.",
    "address-in-use": "The address to listen on cannot be used.",
    "not-fit": "This machine cannot serve and prove.",
    "package-repeated": "Two packages have the same model and version.",
    "internal": "Something went wrong inside the service; its log says what.",
}
"""Stable codes of the service; each keeps its meaning for ever."""


class Refused(VerinferError):
    """The service refuses, or fails, with one of its own codes or of the verifier's."""

    family = "service"

    def __init__(self, code: str, message: str = "", *, field: str | None = None) -> None:
        self.code = code
        self.message = message or describe(code)
        self.field = field
        Exception.__init__(self, f"{code}: {self.message}")


def describe(code: str) -> str:
    """What `code` means, in one line; raises KeyError for one that is not declared."""
    return SERVICE_CODES[code] if code in SERVICE_CODES else CODES[code]
