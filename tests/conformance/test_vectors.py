"""Every vector gives its expected verdict: in the library, and on the command line.

For the steps that can be taken out, a second run without the step shows that only this step finds the lie.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from verinfer.verifier import verify as steps
from verinfer.verifier.bundle import BundleFolder
from verinfer.verifier.cli import EXIT_CODES
from verinfer.verifier.errors import VerinferError
from verinfer.verifier.evidence import EZKL_KIND, SUMCHECK_KIND
from verinfer.verifier.policy import parse_policy
from verinfer.verifier.proof_systems import SYSTEMS, ProofSystem
from verinfer.verifier.verdict import Verified
from verinfer.verifier.verify import Expect, verify
from verinfer.verifier.wire import parse_time

from ..command import verinfer

VECTORS = Path(__file__).parents[1] / "vectors"
HOMES = {
    path.name: path
    for vectors in (VECTORS, VECTORS / "sumcheck" / "receipts")
    for path in sorted((vectors / "cases").iterdir())
}
CASES = sorted(HOMES)
REFUSALS = [name for name in CASES if name.endswith("_fail")]

# Steps that stand in one function and give nothing to later steps: without them, verification goes on.
REMOVABLE = {
    2: ("_check_policy",),
    3: ("_check_signature",),
    4: ("_check_request",),
    6: ("_check_sample",),
    10: ("_check_required",),
}


@dataclass(frozen=True)
class Case:
    """One vector as the library takes it."""

    name: str
    receipt: bytes
    policy: Path
    bundles: Path
    now: str
    expect: dict[str, Any]
    expected: dict[str, Any]


def _case(name: str) -> Case:
    home = HOMES[name]
    shared = home.parents[1] / "shared"
    described = json.loads((home / "case.json").read_text())
    return Case(
        name=name,
        receipt=(home / "receipt.json").read_bytes(),
        policy=next(path for path in (home / "policy.json", shared / "policy.json") if path.exists()),
        bundles=next(path for path in (home / "bundles", shared / "bundles") if path.exists()),
        now=described["now"],
        expect={name: value for name, value in described["expect"].items() if value is not None},
        expected=json.loads((home / "expected.json").read_text()),
    )


def _verify(case: Case, ezkl: ProofSystem, sumcheck: ProofSystem = SYSTEMS[SUMCHECK_KIND]) -> Verified:
    return verify(
        case.receipt,
        policy=parse_policy(case.policy.read_bytes()),
        now=parse_time(case.now),
        expect=Expect(**case.expect),
        bundles=BundleFolder(case.bundles),
        proof_systems={EZKL_KIND: ezkl, SUMCHECK_KIND: sumcheck},
    )


@pytest.mark.parametrize("name", CASES)
def test_the_library_gives_the_expected_verdict(name: str, ezkl: ProofSystem) -> None:
    """An acceptance has exactly the claims; a refusal has exactly the code."""
    case = _case(name)
    if name in REFUSALS:
        with pytest.raises(VerinferError) as caught:
            _verify(case, ezkl)
        assert caught.value.code == case.expected["code"]
    else:
        assert sorted(_verify(case, ezkl).claims) == case.expected["claims"]


@pytest.mark.parametrize("name", [name for name in REFUSALS if _case(name).expected["step"] in REMOVABLE])
def test_only_this_step_finds_it(
    name: str, ezkl: ProofSystem, accepts_all: ProofSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its step the vector is accepted, or refused only because its proof is of other bytes (step 8)."""
    case = _case(name)
    step = case.expected["step"]
    for function in REMOVABLE[step]:
        monkeypatch.setattr(steps, function, lambda *_: None)
    try:
        _verify(case, ezkl)
    except VerinferError as error:
        # A re-signed statement has another digest, so its honest proof cannot fit: take that check out too.
        if error.code != "proof-invalid":
            raise
        _verify(case, accepts_all, accepts_all)


@pytest.mark.parametrize(
    "name", [name for name in REFUSALS if _case(name).expected["code"] == "proof-invalid"]
)
def test_only_the_proof_finds_it(name: str, accepts_all: ProofSystem) -> None:
    """Everything but the proof is in order: with a check that accepts all, these pass."""
    assert _verify(_case(name), accepts_all, accepts_all).claims


# The model's version is compared on its own, and a doubled output has nowhere to go without the comparison.
TENSORS = sorted(
    {name for name in REFUSALS if "claimed" in name or "tensors-" in name} - {"tensors-output-doubled_fail"}
)


@pytest.mark.parametrize("name", TENSORS)
def test_only_the_comparison_with_the_manifest_finds_it(
    name: str, accepts_all: ProofSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the comparison of tensors with the manifest these lies pass."""
    case = _case(name)
    monkeypatch.setattr(steps, "_check_tensors", lambda *_: None)
    assert _verify(case, accepts_all, accepts_all).claims


def test_every_step_has_its_refusals() -> None:
    """Steps 1 to 10 are each the first to refuse something (7 is part of 8: instances that differ make the proof invalid)."""
    counted = Counter(_case(name).expected["step"] for name in REFUSALS)
    assert set(counted) == {1, 2, 3, 4, 5, 6, 8, 9, 10}
    assert len(REFUSALS) >= 5 * (len(CASES) - len(REFUSALS))


def _arguments(case: Case, home: Path) -> list[str]:
    files = ("sample", "salt")
    options = [f"--{key.replace('_', '-')}={value}" for key, value in case.expect.items() if key not in files]
    if "salt" in case.expect:
        salt = home / f"{case.name}.salt"
        salt.write_text(case.expect["salt"])
        options.append(f"--salt={salt}")
    if "sample" in case.expect:
        sample = home / f"{case.name}.json"
        sample.write_text(json.dumps(case.expect["sample"]))
        options.append(f"--sample={sample}")
    receipt = HOMES[case.name] / "receipt.json"
    pins = [f"--policy={case.policy}", f"--bundles={case.bundles}", f"--at={case.now}"]
    return ["verify", str(receipt), *pins, "--json", *options]


def _agrees(case: Case, status: int, verdict: dict[str, Any]) -> None:
    if case.name in REFUSALS:
        assert (case.name, verdict["code"]) == (case.name, case.expected["code"])
        assert status in EXIT_CODES.values()
        assert status == {"malformed": 3, "rejected": 1, "error": 2}[verdict["verdict"]]
    else:
        assert (case.name, status, sorted(verdict["claims"])) == (case.name, 0, case.expected["claims"])
        assert "past-time" in verdict["caveats"]


@pytest.mark.parametrize("name", CASES)
def test_the_command_agrees(name: str, tmp_path: Path) -> None:
    """`verinfer verify --json` gives the same code, and the exit code of its family."""
    case = _case(name)
    done = verinfer(*_arguments(case, tmp_path), home=tmp_path)
    _agrees(case, done.returncode, json.loads(done.stdout))


def test_the_command_line_agrees(tmp_path: Path) -> None:
    """So it does in a process of its own, for the first vector of each step and of no step."""
    for step in sorted({_case(name).expected.get("step", 0) for name in CASES}):
        case = next(case for case in map(_case, CASES) if case.expected.get("step", 0) == step)
        command = [sys.executable, "-I", "-m", "verinfer.verifier", *_arguments(case, tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert "Traceback" not in done.stderr
        _agrees(case, done.returncode, json.loads(done.stdout))
