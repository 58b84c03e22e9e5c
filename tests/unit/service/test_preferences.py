from __future__ import annotations

import pytest

from verinfer.service.preferences import Preference, read_preference
from verinfer.service.settings import Settings

SETTINGS = Settings(wait_default=30, wait_limit=120)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Preference(30.0, None)),
        (["wait=5"], Preference(5.0, "wait=5")),
        (['wait="7"'], Preference(7.0, "wait=7")),
        (["Wait = 5"], Preference(5.0, "wait=5")),
        (["wait=0"], Preference(0.0, "wait=0")),
        (["wait=99999"], Preference(120.0, "wait=120")),
        (["respond-async"], Preference(0.0, "respond-async")),
        (["respond-async, wait=3"], Preference(3.0, "wait=3")),
        (["return=minimal", "wait=3"], Preference(3.0, "wait=3")),
        (["wait=-1"], Preference(30.0, None)),
        (["wait=soon"], Preference(30.0, None)),
        (["wait=" + "9" * 400], Preference(30.0, None)),
    ],
)
def test_preferences(headers: list[str], expected: Preference) -> None:
    """A wish is honoured up to the limit, and ignored where it makes no sense."""
    assert read_preference(headers, SETTINGS) == expected
