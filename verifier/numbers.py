"""Real numbers into integers and back: verinfer's own quantisation, in one place.

``v = x · 2^scale`` in binary64, rounded half away from zero (design, section 2).
EZKL is given the result as field elements, so nothing is rounded twice.
Refuses what has no honest integer: NaN, infinities, non-integers for integer tensors, values the circuit cannot hold.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence

from .errors import UsageError
from .wire import Dtype

_FORMATS: dict[Dtype, str] = {"FP32": "f", "INT64": "q"}


def as_dtype(values: Sequence[float | int], dtype: Dtype, *, field: str) -> list[float] | list[int]:
    """`values` as the numbers that a tensor of `dtype` holds: FP32 is rounded to binary32, INT64 must be integers.

    Raises `UsageError` (``value-not-finite``, ``value-not-integer``, ``value-out-of-range``).
    """
    if dtype == "INT64":
        return [_as_integer(value, field) for value in values]
    return [_as_float32(value, field) for value in values]


def quantise(value: float, scale: int, *, bound: int, field: str) -> int:
    """`value` at `scale` (bits after the point) as an integer with magnitude below `bound`.

    Raises `UsageError` (``value-not-finite``, ``value-out-of-range``).
    """
    whole = _scaled(value, scale, bound, field)
    if abs(whole) >= bound:
        largest = math.ldexp(bound - 1, -scale)
        raise UsageError(
            "value-out-of-range",
            f"{field}: {value!r} is beyond ±{largest:g}, the most this circuit holds.",
            field=field,
        )
    return whole


def quantise_clamped(value: float, scale: int, *, least: int, most: int, field: str) -> int:
    """`value` at `scale` as an integer from `least` to `most`: what is beyond them becomes one of them.

    Raises `UsageError` (``value-not-finite``).
    """
    return min(max(_scaled(value, scale, max(-least, most) + 1, field), least), most)


def _scaled(value: float, scale: int, bound: int, field: str) -> int:
    """``value · 2^scale`` rounded half away from zero; what binary64 cannot hold has the magnitude `bound`."""
    try:
        scaled = math.ldexp(finite(value, field=field), scale)
    except OverflowError:
        scaled = math.copysign(bound, value)
    whole = math.floor(abs(scaled))
    # Not floor(x + 0.5): that sum rounds 0.49999999999999994 up to 1.
    if abs(scaled) - whole >= 0.5:
        whole += 1
    return -whole if scaled < 0 else whole


def to_binary64(value: float) -> str:
    """The 16 hex digits of a binary64's big-endian bits."""
    return struct.pack(">d", value).hex()


def from_binary64(text: str) -> float:
    """The number of `to_binary64`."""
    number: float = struct.unpack(">d", bytes.fromhex(text))[0]
    return number


def dequantise(value: int, scale: int) -> float:
    """The real number that `value` at `scale` stands for; exact, since |value| is below 2^53."""
    return math.ldexp(value, -scale)


def encode(values: Sequence[float | int], dtype: Dtype) -> str:
    """Base64 of the little-endian bytes of a tensor's values."""
    return base64.b64encode(struct.pack(f"<{len(values)}{_FORMATS[dtype]}", *values)).decode("ascii")


def decode(text: str, dtype: Dtype) -> tuple[float | int, ...]:
    """The values of `encode`; raises ValueError unless the base64 is strict and whole."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode("ascii") != text:
        raise ValueError("base64 is not canonical")
    size = struct.calcsize(f"<{_FORMATS[dtype]}")
    if len(data) % size:
        raise ValueError(f"not a whole number of {dtype} values")
    return struct.unpack(f"<{len(data) // size}{_FORMATS[dtype]}", data)


def finite(value: float, *, field: str) -> float:
    """`value` as binary64; raises `UsageError` (``value-not-finite``) for NaN, infinities and what is too large."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UsageError(
            "value-not-finite", f"{field}: {str(value)[:40]} is not a finite number.", field=field
        )
    return number


def _as_integer(value: float, field: str) -> int:
    if isinstance(value, float):
        if not finite(value, field=field).is_integer():
            raise UsageError("value-not-integer", f"{field}: {value!r} is not an integer.", field=field)
        value = int(value)
    if not -(2**53) < value < 2**53:
        raise UsageError("value-out-of-range", f"{field}: {value} is beyond ±2^53.", field=field)
    return value


def _as_float32(value: float, field: str) -> float:
    number = finite(value, field=field)
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError as error:
        raise UsageError(
            "value-out-of-range", f"{field}: {number!r} does not fit FP32.", field=field
        ) from error
    return rounded
