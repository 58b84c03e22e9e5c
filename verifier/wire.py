"""What every wire type shares: frozen, strict, no unknown field, read from strict JSON.

Pydantic guards the wire; what it refuses becomes a `Malformed` with the document's own code and the field's path.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
    model_validator,
)

from . import strict_json
from .errors import Malformed

T = TypeVar("T")
M = TypeVar("M", bound="Wire")

Items = Annotated[tuple[T, ...], Strict(False), Field(fail_fast=True)]
"""A JSON array; only the array itself is read leniently (list to tuple), its items stay strict.

The first wrong item ends it: an error for each of millions would fill the memory.
"""

SAFE_INTEGER = 2**53 - 1
"""The largest integer that RFC 8785 writes exactly."""

Integer = Annotated[int, Strict(), Field(ge=-SAFE_INTEGER, le=SAFE_INTEGER)]
Natural = Annotated[int, Strict(), Field(ge=0, le=SAFE_INTEGER)]
Positive = Annotated[int, Strict(), Field(ge=1, le=SAFE_INTEGER)]
Name = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$")]
Hex32 = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{64}$")]
"""32 bytes as 64 lower-case hex digits: a SHA-256 digest or a nonce."""


def printable(text: str, *, most: int = 300) -> str:
    """`text` from somebody else, safe to print on a terminal: at most `most` characters of ASCII in one line.

    Line breaks, terminal escapes and other controls, and whatever could change the order or the look of what stands around
    it, become ``?``; blanks in a row become one, so that nothing is pushed to where a terminal starts its next line.
    """
    cut = text if len(text) <= most else f"{text[: most - 3]}..."
    return " ".join("".join(each if " " <= each <= "~" else "?" for each in cut).split())


def _printable(text: str) -> str:
    # They could write false lines into a verdict.
    if not text.isprintable():
        raise ValueError("text holds control or formatting characters")
    return text


Text = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=1024), AfterValidator(_printable)
]

Dtype = Literal["FP32", "INT64"]
"""Datatypes by their Open Inference Protocol names."""

Shape = Annotated[Items[Positive], Field(min_length=1, max_length=8)]


def _decimal(text: str) -> str:
    value = float(text)
    if value - value != 0:
        raise ValueError("not finite")
    return text


Decimal = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^-?[0-9]{1,40}(\.[0-9]{1,40})?(e-?[0-9]{1,3})?$"),
    AfterValidator(_decimal),
]
"""A real number as a decimal string, read as the nearest binary64: JSON floats are refused everywhere."""


def _instant(text: str) -> str:
    parse_time(text)
    return text


Instant = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
    AfterValidator(_instant),
]
"""RFC 3339 in UTC, whole seconds."""


class Wire(BaseModel):
    """A value that came, or will go, over the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_and_not_null(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            # Found here one at a time: an error for each of millions would fill the memory.
            for name in data:
                if name not in known:
                    raise ValueError(f"the field {name[:64]!a} is unknown")
            # An optional field is absent or has a value: null would be a second spelling of absent.
            if any(value is None for value in data.values()):
                raise ValueError("null is not a value")
        return data

    def to_json(self) -> dict[str, Any]:
        """Plain values for canonical JSON; absent optional fields are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def canonical(self) -> bytes:
        """The RFC 8785 bytes."""
        return strict_json.canonical(self.to_json())


def validate(kind: type[M], value: Any, *, code: str) -> M:
    """Read `value` as `kind`, or raise `Malformed` with `code` and the path of the first wrong field."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = printable(".".join(str(part) for part in first["loc"])) or "document"
        raise Malformed(code, f"{path}: {first['msg']}.", field=path) from error


def parse_time(text: str) -> datetime:
    """The instant that an `Instant` names; raises ValueError for one that does not exist."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def format_time(instant: datetime) -> str:
    """`instant` as RFC 3339 in UTC, whole seconds."""
    return instant.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
