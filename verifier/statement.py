"""The statement: what is claimed about one answer. Its bytes' SHA-256 is the receipt's id.

An in-toto Statement v1 with one subject, the output (design, section 2).
A parsed `Statement` keeps the bytes it was read from; nothing is verified over a re-serialisation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from . import numbers, strict_json
from .digest import sha256
from .errors import Malformed
from .instances import BN254_SCALAR_FIELD
from .manifest import ModelIdentity
from .wire import Dtype, Hex32, Instant, Integer, Items, Name, Shape, Text, Wire, validate

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:verinfer:inference:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_LIMIT = 16 << 20

Mode = Literal["none", "tee", "proof", "tee+proof", "zk", "tee+zk"]


class Runtime(Wire):
    """What computed: the quantised circuit, exactly, or onnxruntime in fp32; with its version."""

    kind: Literal["circuit", "onnxruntime"]
    version: Text


class _Described(Wire):
    name: Name
    shape: Shape
    dtype: Dtype


class TensorValue(_Described):
    """A tensor with its values: integers of a circuit, or base64 of onnxruntime's little-endian bytes."""

    visibility: Literal["public", "sealed"]
    value: Items[Integer] | Annotated[str, Field(max_length=STATEMENT_LIMIT)]

    @model_validator(mode="after")
    def _whole(self) -> TensorValue:
        values = numbers.decode(self.value, self.dtype) if isinstance(self.value, str) else self.value
        if len(values) != prod(self.shape):
            raise ValueError(f"{len(values)} values for shape {list(self.shape)}")
        return self


class HashedTensor(_Described):
    """A tensor of which only a hash is told: Poseidon's over the values and the limbs of their salt, as EZKL has it."""

    visibility: Literal["hashed"]
    hash: Hex32
    """An element of BN254's scalar field, big-endian."""

    @model_validator(mode="after")
    def _canonical_element(self) -> HashedTensor:
        if int(self.hash, 16) >= BN254_SCALAR_FIELD:
            raise ValueError("the hash is no canonical field element")
        return self


class PrivateTensor(_Described):
    """A tensor of which nothing is told."""

    visibility: Literal["private"]


InputTensor = Annotated[TensorValue | HashedTensor | PrivateTensor, Field(discriminator="visibility")]


class Subject(Wire):
    """The output, by the SHA-256 of its RFC 8785 form."""

    name: Literal["output"]
    digest: Sha256


class Sha256(Wire):
    """in-toto's digest set with the one algorithm we use."""

    sha256: Hex32


class Predicate(Wire):
    """Which model, circuit, input, output, nonce, when."""

    issuer: Hex32
    model: ModelIdentity
    runtime: Runtime
    circuit: Hex32 | None = None
    input: Annotated[Items[InputTensor], Field(min_length=1)]
    output: Annotated[Items[TensorValue], Field(min_length=1)]
    nonce: Hex32
    audience: Text | None = None
    issued_at: Instant
    mode: Mode
    prove_by: Instant | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Predicate:
        by_circuit = self.runtime.kind == "circuit"
        if by_circuit != (self.circuit is not None):
            raise ValueError("circuit is present exactly when the runtime is a circuit")
        for tensor in (*self.input, *self.output):
            if not isinstance(tensor, TensorValue):
                if not by_circuit:
                    raise ValueError(f"{tensor.name}: only a circuit can compute with what it does not show")
            elif isinstance(tensor.value, str) == by_circuit:
                raise ValueError(f"{tensor.name}: a circuit's values are integers, onnxruntime's are base64")
        if self.prove_by is not None and self.mode not in ("tee+zk", "tee+proof"):
            raise ValueError("prove_by belongs to the modes with a later proof")
        return self


class _InTotoStatement(Wire):
    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[Items[Subject], Field(min_length=1, max_length=1)]
    predicate_type: Literal["urn:verinfer:inference:v1"] = Field(alias="predicateType")
    predicate: Predicate


Subject.model_rebuild()
_InTotoStatement.model_rebuild()


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed statement together with the bytes it was read from."""

    raw: bytes = field(repr=False)
    predicate: Predicate

    @property
    def digest(self) -> str:
        """SHA-256 of the received bytes: the receipt's id."""
        return sha256(self.raw)


def parse_statement(data: bytes) -> Statement:
    """Read a statement; raises `Malformed` (``statement-malformed``, ``statement-subject-mismatch``, …)."""
    value = strict_json.parse(data, limit=STATEMENT_LIMIT, what="statement")
    parsed = validate(_InTotoStatement, value, code="statement-malformed")
    if parsed.subject[0].digest.sha256 != sha256(strict_json.canonical(value["predicate"]["output"])):
        raise Malformed("statement-subject-mismatch")
    return Statement(raw=data, predicate=parsed.predicate)


def encode_statement(predicate: Predicate) -> bytes:
    """The bytes of the statement about `predicate`, in RFC 8785 form."""
    body = predicate.to_json()
    return strict_json.canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": "output", "digest": {"sha256": sha256(strict_json.canonical(body["output"]))}}
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": body,
        }
    )
