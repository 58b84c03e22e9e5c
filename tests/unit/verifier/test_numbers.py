"""Quantisation: half away from zero, exactly, or an error that names the field."""

from __future__ import annotations

import base64
import math
import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verinfer.verifier import numbers
from verinfer.verifier.errors import UsageError

BOUND = 1 << 40


@pytest.mark.parametrize(
    ("value", "scale", "expected"),
    [
        (0.5, 0, 1),
        (-0.5, 0, -1),
        (1.5, 0, 2),
        (2.5, 0, 3),
        (-2.5, 0, -3),
        (0.49999999999999994, 0, 0),
        (-0.0, 7, 0),
        (1.0, 7, 128),
        (0.00390625, 7, 1),
        (0.00390624, 7, 0),
        (5e-324, 7, 0),
        (3, 0, 3),
    ],
)
def test_rounding_is_half_away_from_zero(value: float, scale: int, expected: int) -> None:
    """Ties go away from zero, and 0.5 minus one ulp is not a tie."""
    assert numbers.quantise(value, scale, bound=BOUND, field="x") == expected


@given(st.floats(-1e6, 1e6), st.integers(0, 16))
def test_quantising_is_the_exact_rounding_of_the_product(value: float, scale: int) -> None:
    """The result is the nearest integer to value * 2^scale as exact rationals, and odd in its sign."""
    result = numbers.quantise(value, scale, bound=1 << 50, field="x")
    exact = Fraction(value) * 2**scale
    assert abs(Fraction(result) - exact) <= Fraction(1, 2)
    if abs(exact) - math.floor(abs(exact)) == Fraction(1, 2):
        assert abs(result) > abs(exact)
    assert numbers.quantise(-value, scale, bound=1 << 50, field="x") == -result


@given(st.integers(-(2**50), 2**50), st.integers(0, 40))
def test_dequantising_and_quantising_is_the_identity(value: int, scale: int) -> None:
    """A reader's float stands for exactly one integer."""
    assert numbers.quantise(numbers.dequantise(value, scale), scale, bound=2**53, field="x") == value


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (math.nan, "value-not-finite"),
        (math.inf, "value-not-finite"),
        (-math.inf, "value-not-finite"),
        (10**400, "value-not-finite"),
        (1 << 40, "value-out-of-range"),
        (-(1 << 40), "value-out-of-range"),
        ((1 << 40) - 0.25, "value-out-of-range"),
        (1.7e308, "value-out-of-range"),
    ],
)
def test_what_the_circuit_cannot_hold_is_refused(value: float, code: str) -> None:
    """NaN, infinities and values at or past the bound are refused, with the field's name."""
    with pytest.raises(UsageError) as caught:
        numbers.quantise(value, 20 if value == 1.7e308 else 0, bound=BOUND, field="image")
    assert (caught.value.code, caught.value.field) == (code, "image")


def test_an_integer_tensor_takes_integers_only() -> None:
    """1.0 is an integer, 1.5 is not, 2^53 is too large to be exact."""
    assert numbers.as_dtype([1.0, -3, 2**53 - 1], "INT64", field="x") == [1, -3, 2**53 - 1]
    for value, code in [
        (1.5, "value-not-integer"),
        (2**53, "value-out-of-range"),
        (math.nan, "value-not-finite"),
    ]:
        with pytest.raises(UsageError) as caught:
            numbers.as_dtype([value], "INT64", field="x")
        assert caught.value.code == code


def test_an_fp32_tensor_holds_binary32() -> None:
    """0.1 becomes the nearest binary32; 1e39 does not fit."""
    assert numbers.as_dtype([0.1], "FP32", field="x") == [struct.unpack("<f", struct.pack("<f", 0.1))[0]]
    with pytest.raises(UsageError) as caught:
        numbers.as_dtype([1e39], "FP32", field="x")
    assert caught.value.code == "value-out-of-range"


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_bytes_of_a_tensor_read_back(values: list[float]) -> None:
    """Base64 of little-endian bytes gives the same values back."""
    assert list(numbers.decode(numbers.encode(values, "FP32"), "FP32")) == values


@pytest.mark.parametrize(
    "text", ["AAA", "AAAAAB==", "AAAA AAAA", "AAAAAA==\n", "*", base64.b64encode(b"12345").decode()]
)
def test_sloppy_base64_is_refused(text: str) -> None:
    """Missing padding, stray characters, non-zero spare bits and partial values have no second reading."""
    with pytest.raises(ValueError, match=r".+"):
        numbers.decode(text, "FP32")
