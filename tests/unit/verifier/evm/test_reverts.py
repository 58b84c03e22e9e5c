"""Why a contract refuses, in words."""

from __future__ import annotations

from verinfer.verifier.evm.reverts import ERRORS, explain
from verinfer.verifier.evm.solc import Compiled
from verinfer.verifier.evm.words import selector


def test_every_error_of_our_contracts_has_words(own: dict[str, Compiled]) -> None:
    """What the Solidity can say and what is explained are the same set, with the same parameters."""
    declared = {
        f"{item['name']}({','.join(part['type'] for part in item['inputs'])})"
        for compiled in own.values()
        for item in compiled.abi
        if item["type"] == "error"
    }
    assert declared == set(ERRORS)


def test_an_unknown_refusal_is_said_to_be_one() -> None:
    """Nothing is made up about what another contract says."""
    assert explain(selector("AlreadySettled(uint256)") + bytes(32))[0] == "AlreadySettled"
    assert explain(b"")[0] == ""
    assert "0xdeadbeef" in explain(bytes.fromhex("deadbeef"))[1]
