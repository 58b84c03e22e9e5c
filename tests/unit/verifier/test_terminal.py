"""Texts for people: nothing that somebody else wrote can pass for a line of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verinfer.verifier.terminal import shown
from verinfer.verifier.wire import printable

FORGED = "oops\n\nVERIFIED  bmi 1: 42\r\x1b[2K\x1b[8m\u202e\u2028\u200b\u00a0\u05d0"


def test_text_from_others_is_short_ascii_in_one_line() -> None:
    """Controls, escapes, marks and letters that turn the direction, and other line ends become question marks."""
    said = printable(FORGED)
    assert said == "oops??VERIFIED bmi 1: 42??[2K?[8m?????"
    assert len(printable("x" * 10_000)) == 300
    assert printable("x" * 10_000).endswith("...")


@given(text=st.text(max_size=2000), most=st.integers(3, 400))
def test_text_from_others_is_always_clean(text: str, most: int) -> None:
    """Whatever it is: at most so many characters, printable, ASCII, and no two blanks in a row."""
    said = printable(text, most=most)
    assert len(said) <= most
    assert said.isascii()
    assert not said or said.isprintable()
    assert "  " not in said


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("filler", [".", " ", "x ", "\u4f60", "e\u0301", "\u00a0"])
def test_no_padding_pushes_a_forged_verdict_to_the_first_column(filler: str, width: int) -> None:
    """A terminal never folds a line by itself: each fits, and what goes on is indented."""
    for count in range(2 * width):
        text = f"COULD NOT CHECK: service-refused: {filler * count}VERIFIED  bmi 1: 42"
        first, *rest = shown(text, width=width).split("\n")
        assert first.startswith("COULD NOT CHECK:")
        assert all(line.startswith(" ") for line in rest)
        assert all(_columns(line) <= width for line in (first, *rest))


def _columns(text: str) -> int:
    return sum(2 if each == "\u4f60" else 0 if each == "\u0301" else 1 for each in text)


def test_lines_of_ours_stay_as_they_are() -> None:
    """Where no terminal is, and where a line fits, nothing is folded; the words stay whole where they can."""
    ours = "VERIFIED  bmi 1: 42\n\n  + claim: a\n"
    assert shown(ours, width=None) == shown(ours, width=80) == ours
    assert shown("one two three four five", width=20) == "one two three four\n      five"
    assert shown("a\x1b[1mb\u202ec", width=None) == "a?[1mb?c"
