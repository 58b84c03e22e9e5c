"""The spec that travels with a model: names, shapes, labels, preprocessing, provenance.

Takes the bytes of a model's ``spec.json`` and gives a `ModelSpec`.
It lets a client send a raw sample and read a label; what a verifier relies on is copied into the circuit's manifest.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from . import strict_json
from .wire import Decimal, Dtype, Hex32, Items, Name, Natural, Positive, Shape, Text, Wire, validate

SPEC_TYPE = "urn:verinfer:model-spec:v1"
SPEC_LIMIT = 1 << 20


class Standardise(Wire):
    """``(raw - subtract) / divide`` in binary64; each list has one entry, or one per element."""

    op: Literal["affine"]
    subtract: Annotated[Items[Decimal], Field(min_length=1)]
    divide: Annotated[Items[Decimal], Field(min_length=1)]

    @model_validator(mode="after")
    def _divisible(self) -> Standardise:
        if any(float(text) == 0 for text in self.divide):
            raise ValueError("division by zero")
        return self


class Denormalise(Wire):
    """``output * multiply + add`` in binary64; each list has one entry, or one per element."""

    op: Literal["affine"]
    multiply: Annotated[Items[Decimal], Field(min_length=1)]
    add: Annotated[Items[Decimal], Field(min_length=1)]


class RawFields(Wire):
    """A raw sample is one number per named field."""

    kind: Literal["fields"]
    fields: Annotated[Items[Text], Field(min_length=1)]


class RawImage(Wire):
    """A raw sample is a grey image; pixel values run from 0 to `maximum`."""

    kind: Literal["image"]
    width: Positive
    height: Positive
    maximum: Positive


class InputSpec(Wire):
    """One input tensor and how a raw sample becomes it."""

    name: Name
    dtype: Dtype
    shape: Shape
    raw: Annotated[RawFields | RawImage, Field(discriminator="kind")]
    preprocessing: Items[Standardise]

    @model_validator(mode="after")
    def _lengths(self) -> InputSpec:
        count = prod(self.shape)
        expected = (
            len(self.raw.fields) if isinstance(self.raw, RawFields) else self.raw.width * self.raw.height
        )
        if expected != count:
            raise ValueError(f"a raw sample has {expected} numbers, the tensor {count}")
        for step in self.preprocessing:
            _check_lengths(count, step.subtract, step.divide)
        return self


class OutputSpec(Wire):
    """One output tensor and what its elements mean."""

    name: Name
    dtype: Dtype
    shape: Shape
    fields: Items[Text] | None = None
    postprocessing: Items[Denormalise]

    @model_validator(mode="after")
    def _lengths(self) -> OutputSpec:
        count = prod(self.shape)
        if self.fields is not None and len(self.fields) != count:
            raise ValueError(f"{len(self.fields)} fields for {count} elements")
        for step in self.postprocessing:
            _check_lengths(count, step.multiply, step.add)
        return self


class Accuracy(Wire):
    """What was measured on held-out samples, and on how many."""

    metric: Literal["accuracy", "mean-absolute-error"]
    value: Decimal
    samples: Positive


class ModelSpec(Wire):
    """Everything about a model that is not its weights."""

    type: Literal["urn:verinfer:model-spec:v1"]
    name: Name
    version: Name
    title: Text
    task: Literal["classification", "regression"]
    onnx: Hex32
    data: Text
    seed: Natural
    accuracy: Accuracy
    inputs: Annotated[Items[InputSpec], Field(min_length=1)]
    outputs: Annotated[Items[OutputSpec], Field(min_length=1)]
    labels: Items[Text] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        names = [*(tensor.name for tensor in self.inputs), *(tensor.name for tensor in self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError("tensor names repeat")
        if (self.task == "classification") != (self.labels is not None):
            raise ValueError("labels belong to classification, and only there")
        if self.labels is not None and len(self.labels) != prod(self.outputs[0].shape):
            raise ValueError("one label for each element of the first output")
        return self


def parse_spec(data: bytes) -> ModelSpec:
    """Read ``spec.json``; raises `Malformed` (``spec-malformed``, ``json-invalid``, ``too-large``)."""
    return validate(ModelSpec, strict_json.parse(data, limit=SPEC_LIMIT, what="spec"), code="spec-malformed")


def _check_lengths(count: int, *lists: tuple[str, ...]) -> None:
    if any(len(items) not in (1, count) for items in lists):
        raise ValueError(f"lists of an affine step have 1 or {count} entries")
