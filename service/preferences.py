"""What a client prefers while its proof is made (RFC 7240): to wait so long, or to be answered at once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .settings import Settings

_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?")


@dataclass(frozen=True, slots=True)
class Preference:
    """How many seconds to wait, and what of the client's wish is honoured (`Preference-Applied`)."""

    seconds: float
    applied: str | None


def read_preference(headers: list[str], settings: Settings) -> Preference:
    """The preference in the ``Prefer`` headers; one that makes no sense is ignored, as the RFC says."""
    wishes = [wish.strip().lower() for header in headers for wish in header.split(",")]
    for wish in wishes:
        if found := _WAIT.fullmatch(wish):
            seconds = min(int(found[1]), int(settings.wait_limit))
            return Preference(float(seconds), f"wait={seconds}")
    if "respond-async" in wishes:
        return Preference(0.0, "respond-async")
    return Preference(settings.wait_default, None)
