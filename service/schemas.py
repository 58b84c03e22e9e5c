"""The bodies that clients send, exactly: an unknown field is refused rather than ignored, since it may be a misspelt wish.

Source: Open Inference Protocol v2 (KServe), "Inference Request JSON Object"; its binary extension is not spoken here, but
its two harmless wishes about the answer are accepted, because clients of it always send them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from verinfer.verifier.wire import Text

from .errors import Refused


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TensorParameters(_Body):
    """Wishes about one tensor."""

    binary_data: bool = False


class InputTensor(_Body):
    """One input; its values are checked against the model, not here."""

    name: Text
    shape: Annotated[list[int], Field(max_length=8)]
    datatype: Text
    data: list[Any]
    parameters: TensorParameters = TensorParameters()


class OutputWish(_Body):
    """One output that is wanted."""

    name: Text
    parameters: TensorParameters = TensorParameters()


class InferParameters(_Body):
    """verinfer's parameters of a request."""

    mode: str = "none"
    nonce: str | None = None
    audience: Text | None = None
    salt: str | None = None
    binary_data_output: bool = False


class InferRequest(_Body):
    """``POST /v2/models/{name}/infer``."""

    id: Annotated[str, StringConstraints(max_length=256)] | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=64)]
    outputs: list[OutputWish] = []
    parameters: InferParameters = InferParameters()


def read_request(value: Any) -> InferRequest:
    """Read a parsed body; raises `Refused` (``request-malformed``) with the path of the first wrong field."""
    if not isinstance(value, dict):
        raise Refused("request-malformed", "The body is not a JSON object.", field="body")
    try:
        return InferRequest.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise Refused("request-malformed", f"{path[:200]}: {first['msg']}.", field=path[:200]) from error
