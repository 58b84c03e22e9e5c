"""An operator's own policy never says more than the operator may."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from verinfer.verifier.bundle import BundleFolder
from verinfer.verifier.policy import Origin, parse_policy
from verinfer.verifier.verdict import Caveat, Claim, Verified
from verinfer.verifier.verify import Expect, verify
from verinfer.verifier.wire import parse_time

VECTORS = Path(__file__).parents[2] / "vectors"


def _verify(origin: Origin) -> Verified:
    case = VECTORS / "cases" / "proven"
    return verify(
        (case / "receipt.json").read_bytes(),
        policy=replace(parse_policy((VECTORS / "shared" / "policy.json").read_bytes()), origin=origin),
        now=parse_time(json.loads((case / "case.json").read_text())["now"]),
        expect=Expect(model="bmi"),
        bundles=BundleFolder(VECTORS / "shared" / "bundles"),
    )


def test_an_operators_word_does_not_make_a_model_checked() -> None:
    """The same policy claims `computed-by-model` from an owner, and names the gap when the operator gave it."""
    assert Claim.COMPUTED_BY_MODEL in _verify("local").claims
    verified = _verify("operator")
    assert Claim.COMPUTED_BY_MODEL not in verified.claims
    assert {Caveat.MODEL_EQUIVALENCE_NOT_CHECKED, Caveat.POLICY_FROM_OPERATOR} <= set(verified.caveats)
