"""A request on chain as a file: what `verinfer contract request` leaves for `infer` and `settle`.

Reading it needs no package for chains. Nothing in it is believed where it matters: the contract knows its own requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import StringConstraints

from .. import files, strict_json
from ..wire import Hex32, Positive, Wire, validate

REQUEST_LIMIT = 1 << 16

Address = Annotated[str, StringConstraints(strict=True, pattern=r"^0x[0-9a-fA-F]{40}$")]


class OpenedRequest(Wire):
    """An opened request; `nonce` is what the service has to be asked with."""

    type: Literal["urn:verinfer:request:v1"]
    chain_id: Positive
    consumer: Address
    requester: Address
    request_id: Positive
    deadline: Positive
    model_pin: Hex32
    input_hash: Hex32
    nonce: Hex32


def read_request(path: Path) -> OpenedRequest:
    """The request in `path`; raises `Malformed` (``contract-malformed``, …) or `CouldNotCheck` (``file-missing``)."""
    value = strict_json.parse(files.read(path, limit=REQUEST_LIMIT), limit=REQUEST_LIMIT, what="request")
    return validate(OpenedRequest, value, code="contract-malformed")
