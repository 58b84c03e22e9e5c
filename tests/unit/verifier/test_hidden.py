"""Inputs that a statement does not show: their salt, their instances, and what a verdict says of them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from verinfer.verifier import report, strict_json
from verinfer.verifier.bundle import BundleFolder, open_bundle
from verinfer.verifier.digest import CHALLENGE_NAME, salt_limbs
from verinfer.verifier.errors import Rejected, VerinferError
from verinfer.verifier.evidence import EZKL_KIND
from verinfer.verifier.ezkl_proof import EzklCheck
from verinfer.verifier.instances import build_instances
from verinfer.verifier.manifest import Tensor, Visibility, parse_manifest
from verinfer.verifier.policy import parse_policy
from verinfer.verifier.proof_systems import ProofSystem
from verinfer.verifier.receipt import parse_receipt
from verinfer.verifier.verdict import Caveat, Claim, Verified
from verinfer.verifier.verify import Expect, verify
from verinfer.verifier.wire import parse_time

VECTORS = Path(__file__).parents[2] / "vectors"
SALT = "5a17" * 16


def _verify(
    name: str, system: ProofSystem, *, systems: dict[str, ProofSystem] | None = None, **expect: object
) -> Verified:
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
        proof_systems={EZKL_KIND: system} if systems is None else systems,
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


SALTS: dict[str, tuple[str, str, str]] = {
    "without a sample": ("hidden-hashed", SALT, "usage"),
    "where nothing is told": ("hidden-private", SALT, "input-undisclosed"),
    "where nothing is hashed": ("proven-with-sample", SALT, "visibility-mismatch"),
    "that is too short": ("hidden-hashed-opened", SALT[:32], "salt-malformed"),
    "in capitals": ("hidden-hashed-opened", SALT.upper(), "salt-malformed"),
    "that is no hex": ("hidden-hashed-opened", "z" * 64, "salt-malformed"),
}


@pytest.mark.parametrize("case", SALTS)
def test_a_salt_that_says_nothing_is_not_passed_over(case: str, accepts_all: ProofSystem) -> None:
    """Whoever gives one believes that the input was compared."""
    name, salt, code = SALTS[case]
    with pytest.raises(VerinferError) as caught:
        _verify(name, accepts_all, salt=salt)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["hidden-hashed", "hidden-private", "proven"])
def test_a_circuit_that_shows_more_or_less_is_another_one(name: str, accepts_all: ProofSystem) -> None:
    """A policy may pin several circuits of a model: the operator does not choose how much of the input is told."""
    shown = {"hidden-hashed": "hashed", "hidden-private": "private", "proven": "public"}
    for visibility in shown.values():
        if visibility == shown[name]:
            assert _verify(name, accepts_all, visibility=visibility).inputs[0].visibility == visibility
            continue
        with pytest.raises(Rejected) as caught:
            _verify(name, accepts_all, visibility=visibility)
        assert caught.value.code == "visibility-mismatch"


def test_a_verdict_names_the_hash(ezkl: ProofSystem) -> None:
    """Whoever opens it later must know which one was verified; values are in no verdict."""
    verdict = _verify("hidden-hashed", ezkl)
    receipt = json.loads((VECTORS / "cases" / "hidden-hashed" / "receipt.json").read_text())
    stated = json.loads(base64.b64decode(receipt["envelope"]["payload"]))["predicate"]["input"][0]["hash"]
    assert report.as_json(verdict)["inputs"] == [{"name": "habits", "visibility": "hashed", "hash": stated}]
    assert f"habits hashed {stated}" in report.as_text(verdict)
    assert "habits private\n" in report.as_text(_verify("hidden-private", ezkl))


def test_without_the_proof_system_a_hash_is_not_compared(accepts_all: ProofSystem) -> None:
    """A verifier that lacks it refuses, as it does for the proof; and nothing shows the salt by accident."""
    case = json.loads((VECTORS / "cases" / "hidden-hashed-opened" / "case.json").read_text())
    with pytest.raises(Rejected) as caught:
        _verify("hidden-hashed-opened", accepts_all, systems={})
    assert caught.value.code == "evidence-unsupported"
    assert SALT not in repr(Expect(**case["expect"]))


class _Recorder:
    """Children that note what they are asked, and accept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.asked: dict[str, Any] = {}
        self.instances: list[str] = []

    def call(self, _function: str, arguments: dict[str, Any]) -> bool:
        """Note the call."""
        self.asked = arguments
        self.instances = json.loads(Path(arguments["proof"]).read_bytes())["instances"][0]
        return True

    @contextmanager
    def child(self) -> Iterator[Any]:
        """This one."""
        yield self, self._directory


def test_the_challenges_hash_stands_behind_those_of_all_inputs(tmp_path: Path) -> None:
    """EZKL's order: a hash for each input, then the challenge's, which the child puts in."""
    folder = BundleFolder(VECTORS / "shared" / "bundles")
    receipt = parse_receipt((VECTORS / "cases" / "hidden-hashed" / "receipt.json").read_bytes())
    predicate = receipt.statement.predicate
    assert predicate.circuit is not None
    bundle = open_bundle(folder.read(predicate.circuit), predicate.circuit)
    body = bundle.manifest.to_json()
    body["inputs"].append({**body["inputs"][0], "name": "more"})
    body["layout"].insert(1, {**body["layout"][0], "name": "more"})
    manifest = parse_manifest(strict_json.canonical(body))
    (told,) = predicate.input
    both = predicate.model_copy(update={"input": (told, told.model_copy(update={"name": "more"}))})
    children = _Recorder(tmp_path)
    (proof,) = receipt.evidence.values()
    EzklCheck(children).check(
        replace(receipt.statement, predicate=both), replace(bundle, manifest=manifest), proof
    )
    assert (children.asked["place"], len(children.asked["hashed"])) == (2, 16)
    # Two hashes, the challenge, the outputs; the third hash is the child's to add.
    assert len(children.instances) == 2 + 16 + 2
