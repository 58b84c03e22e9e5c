"""Inputs that a statement does not show: their salt, their instances, and what a verdict says of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from verinfer.verifier.bundle import BundleFolder
from verinfer.verifier.digest import CHALLENGE_NAME, salt_limbs
from verinfer.verifier.errors import UsageError
from verinfer.verifier.evidence import EZKL_KIND
from verinfer.verifier.instances import build_instances
from verinfer.verifier.manifest import Tensor, Visibility
from verinfer.verifier.policy import parse_policy
from verinfer.verifier.proof_systems import ProofSystem
from verinfer.verifier.verdict import Caveat, Claim, Verified
from verinfer.verifier.verify import Expect, verify
from verinfer.verifier.wire import parse_time

VECTORS = Path(__file__).parents[2] / "vectors"
SALT = "5a17" * 16


def _verify(name: str, system: ProofSystem, **expect: object) -> Verified:
    home = VECTORS / "cases" / name
    case = json.loads((home / "case.json").read_text())
    own, shared = home / "policy.json", VECTORS / "shared" / "policy.json"
    policy = own if own.exists() else shared
    return verify(
        (home / "receipt.json").read_bytes(),
        policy=parse_policy(policy.read_bytes()),
        now=parse_time(case["now"]),
        expect=replace(Expect(**case["expect"]), **expect),  # type: ignore[arg-type]  # a case's expectations
        bundles=BundleFolder(VECTORS / "shared" / "bundles"),
        proof_systems={EZKL_KIND: system},
    )


def test_each_tensor_of_a_request_has_its_own_salt() -> None:
    """256 bits from one salt and the tensor's name, as numbers that a circuit's range holds."""
    limbs = salt_limbs(SALT, "habits")
    assert b"".join(limb.to_bytes(2) for limb in limbs) == (
        hashlib.sha256(b"verinfer/salt/v1" + bytes.fromhex(SALT) + b"habits").digest()
    )
    assert salt_limbs(SALT, "other") != limbs
    assert salt_limbs("00" * 32, "habits") != limbs


@pytest.mark.parametrize(
    ("visibility", "shown", "wanted"),
    [("public", (1, 2, 3), (1, 2, 3)), ("hashed", (7,), (7,)), ("private", (), ())],
)
def test_instances_hold_what_is_shown(
    visibility: Visibility, shown: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    """Values, a hash, or nothing; then the challenge, then the outputs. Anything else is a fault of ours."""
    layout = [
        Tensor(name="x", role="input", shape=(1, 3), dtype="FP32", scale=7, visibility=visibility),
        Tensor(
            name=CHALLENGE_NAME, role="challenge", shape=(1, 2), dtype="INT64", scale=0, visibility="public"
        ),
        Tensor(name="y", role="output", shape=(1, 1), dtype="FP32", scale=7, visibility="public"),
    ]
    assert build_instances(layout, {"x": shown, "y": (-9,)}, (4, 5)) == (*wanted, 4, 5, -9)
    with pytest.raises(ValueError, match="x has"):
        build_instances(layout, {"x": (*shown, 1), "y": (-9,)}, (4, 5))


def test_a_hash_says_which_input_to_whoever_has_the_salt(ezkl: ProofSystem) -> None:
    """With sample and salt the input is known to be the caller's; without them the verdict says that it was not compared."""
    opened, closed = _verify("hidden-hashed-opened", ezkl), _verify("hidden-hashed", ezkl)
    assert Claim.INPUT_IS_YOURS in opened.claims
    assert Claim.INPUT_IS_YOURS not in closed.claims
    assert Caveat.INPUT_NOT_CHECKED in closed.caveats
    for verdict in (opened, closed):
        assert Caveat.INPUT_PRIVATE_NOT_ZERO_KNOWLEDGE in verdict.caveats
        assert Caveat.INPUT_UNDISCLOSED not in verdict.caveats


def test_nobody_takes_an_undisclosed_input_for_a_known_one(ezkl: ProofSystem) -> None:
    """The claim has another name, and the caveat says what it means."""
    verdict = _verify("hidden-private", ezkl)
    assert Claim.COMPUTED_ON_UNDISCLOSED_INPUT in verdict.claims
    assert Claim.COMPUTED_BY_CIRCUIT not in verdict.claims
    assert {Caveat.INPUT_UNDISCLOSED, Caveat.INPUT_PRIVATE_NOT_ZERO_KNOWLEDGE} <= set(verdict.caveats)
    assert Caveat.INPUT_NOT_CHECKED not in verdict.caveats


@pytest.mark.parametrize("name", ["hidden-hashed", "hidden-private", "proven-with-sample"])
def test_a_salt_that_says_nothing_is_not_passed_over(name: str, accepts_all: ProofSystem) -> None:
    """A salt without a sample, or for a circuit that hashes nothing: whoever gives one believes in something else."""
    with pytest.raises(UsageError):
        _verify(name, accepts_all, salt=SALT)
