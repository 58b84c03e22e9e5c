"""That a false proof is refused at one step, and at that one alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from verinfer.verifier.errors import Rejected
from verinfer.verifier.sumcheck import (
    basefold,
    key,
    linear,
    lookup,
    merkle,
    messages,
    opening,
    rounds,
    zerocheck,
)
from verinfer.verifier.sumcheck import check as check_module
from verinfer.verifier.sumcheck.refusal import Step, require

CHALLENGE = bytes(range(32))
"""That of every proof here."""
MODULES = (basefold, check_module, key, linear, lookup, merkle, messages, opening, rounds, zerocheck)


def refused_only_at(step: Step, verify: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Assert that `verify` fails at this step, and would not without it."""
    with pytest.raises(Rejected) as refusal:
        verify()
    assert ("proof-invalid", step) == (refusal.value.code, refusal.value.field)

    def lenient(condition: bool, where: Step, why: str) -> None:
        require(condition or where is step, where, why)

    for module in MODULES:
        monkeypatch.setattr(module, "require", lenient)
    verify()
