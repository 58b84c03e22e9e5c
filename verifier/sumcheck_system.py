"""What a manifest says of verinfer-sc/1: which integer network, how inputs become its integers, what it is rebuilt from.

The network itself is the bundle's ``description.json``; its weights are known by their root alone.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from . import numbers
from .wire import SAFE_INTEGER, Hex32, Items, Natural, Positive, Wire


def _is_finite(text: str) -> str:
    number = numbers.from_binary64(text)
    if number - number != 0:
        raise ValueError("not finite")
    return text


Binary64 = Annotated[
    str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{16}$"), AfterValidator(_is_finite)
]
"""A finite binary64 as the 16 hex digits of its big-endian bits: a rebuild must have the very same number."""

_Range = Annotated[Items[Binary64], Field(min_length=2, max_length=2)]
_Bits = Annotated[Positive, Field(ge=5, le=16)]


class Numbers(Wire):
    """What `verinfer reproduce` makes the integer weights from, without a search.

    `bits` are those of weights, `widths` those of each stage's activation; `given` and `outputs` are the ends of what samples
    showed of the input and of each stage's output.
    """

    bits: _Bits
    limb_bits: _Bits
    widths: Annotated[Items[Annotated[Positive, Field(le=16)]], Field(min_length=1, max_length=256)]
    given: _Range
    outputs: Annotated[Items[_Range], Field(min_length=1, max_length=256)]

    @model_validator(mode="after")
    def _of_the_same_stages(self) -> Numbers:
        if len(self.widths) != len(self.outputs):
            raise ValueError("widths and outputs are of each stage")
        return self


class SumcheckSystem(Wire):
    """Everything that fixes a circuit of verinfer-sc/1.

    `description` is the SHA-256 of the bundle's ``description.json``, `root` commits to the weights.
    The circuit's own inputs are not negative: of `input_bits` bits, `input_zero` stands for 0. A statement has them around 0.
    """

    name: Literal["verinfer-sc-1"]
    description: Hex32
    root: Hex32
    input_bits: Annotated[Positive, Field(le=16)]
    input_zero: Natural
    security_bits: Natural
    """What a proof is worth, without any conjecture but that SHA-256 is a random oracle."""
    numbers: Numbers

    @property
    def runtime(self) -> str:
        """What statements call this runtime."""
        return "verinfer-sc/1"

    @property
    def visibility(self) -> Literal["public"]:
        """What a proof shows of the inputs."""
        return "public"

    @property
    def bound(self) -> int:
        """Every value of the statement has a magnitude below this."""
        return SAFE_INTEGER + 1

    @property
    def input_range(self) -> tuple[int, int]:
        """The least and the largest integer that a statement may have as an input."""
        return -self.input_zero, (1 << self.input_bits) - 1 - self.input_zero

    @model_validator(mode="after")
    def _zero_is_an_input(self) -> SumcheckSystem:
        if self.input_zero >= 1 << self.input_bits:
            raise ValueError("input_zero does not have input_bits bits")
        return self
