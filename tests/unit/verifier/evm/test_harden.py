"""Hardening by structure: the condition stands where it must, or nothing is built."""

from __future__ import annotations

import pytest

from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.evm.build import Contract
from verinfer.verifier.evm.harden import Form, harden

FORMS: tuple[Form, ...] = ("single", "reusable")
CONDITION = {
    "single": "success := and(success, eq(0x64, proof.offset))",
    "reusable": "success := and(success, eq(0x84, proof.offset))",
}


def unhardened(contract: Contract) -> str:
    """What EZKL wrote: the hardened source without the one line."""
    lines = contract.source.splitlines(keepends=True)
    return "".join(line for line in lines if line.strip() != CONDITION[contract.form])


@pytest.mark.parametrize("form", FORMS)
def test_one_condition_is_added_and_nothing_else(verifiers: dict[Form, Contract], form: Form) -> None:
    """The hardened source has the condition once, right after the proof's length is checked, and is else EZKL's."""
    source = verifiers[form].source
    assert source.count(CONDITION[form]) == 1
    before = source[: source.index(CONDITION[form])].rstrip()
    assert before.endswith("proof.length))")
    assert harden(unhardened(verifiers[form]), form) == source


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("proof.length))", "proof.length), 1)"),
        ("proof.length))", "proof.length))\n success := and(success, eq(0x20, proof.length))"),
        ("let proof_cptr := proof.offset", "let proof_cptr := 0x64"),
        ("let proof_cptr := proof.offset", "let other := proof.offset\n let proof_cptr := proof.offset"),
        (
            "bytes calldata proof,\n        uint256[] calldata instances",
            "bytes memory proof, uint256[] calldata instances",
        ),
        ("bytes calldata proof", "uint256 first, bytes calldata proof"),
        ("bytes calldata proof", "bytes calldata proof, bytes calldata more"),
        ("contract Halo2Verifier", "contract Other"),
        ("pragma solidity", "contract Second { }\npragma solidity"),
        ("function verifyProof(", "function verifyProof(uint256 other) public {}\n function verifyProof("),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_a_source_of_another_shape_is_refused(
    verifiers: dict[Form, Contract], form: Form, old: str, new: str
) -> None:
    """Where EZKL writes something else than we looked at, no contract is built; the code says so."""
    raw = unhardened(verifiers[form])
    assert old in raw
    with pytest.raises(CouldNotCheck) as caught:
        harden(raw.replace(old, new), form)
    assert caught.value.code == "contract-differs"


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_not_mixed_up(verifiers: dict[Form, Contract], form: Form) -> None:
    """A reusable verifier is not hardened as a single one, whose proof lies elsewhere, nor the other way round."""
    other: Form = "single" if form == "reusable" else "reusable"
    with pytest.raises(CouldNotCheck):
        harden(unhardened(verifiers[form]), other)
