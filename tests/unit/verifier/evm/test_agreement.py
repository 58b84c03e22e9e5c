"""The Python verifier and the contract give the same verdict on changed proofs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from verinfer.verifier.bundle import Bundle
from verinfer.verifier.errors import Rejected
from verinfer.verifier.evidence import EzklProof
from verinfer.verifier.evm import calldata
from verinfer.verifier.evm.build import Contract
from verinfer.verifier.evm.calldata import OnChainProof
from verinfer.verifier.evm.harden import Form
from verinfer.verifier.instances import BN254_SCALAR_FIELD
from verinfer.verifier.proof_systems import ProofSystem
from verinfer.verifier.receipt import parse_receipt

from .chain import Chain, Reverted
from .conftest import VECTORS

MUTATIONS = 48
SEED = 20261125


def _mutations(proof: bytes, count: int) -> Iterator[bytes]:
    """The proof itself, then changes of single words, each at a place of its own."""
    yield proof
    chance = random.Random(SEED)  # noqa: S311 - the same changes each time are what is wanted
    words = [proof[start : start + 32] for start in range(0, len(proof), 32)]
    for place in chance.sample(range(len(words)), count):
        word = int.from_bytes(words[place], "big")
        changed = chance.choice(
            [
                word ^ 1 << chance.randrange(256),
                word + 1,
                0,
                (word + BN254_SCALAR_FIELD) % 2**256,
                chance.getrandbits(256),
                int.from_bytes(chance.choice(words), "big"),
            ]
        )
        yield b"".join([*words[:place], (changed % 2**256).to_bytes(32, "big"), *words[place + 1 :]])


def test_python_and_the_contract_agree(
    bundles: dict[str, Bundle],
    honest: dict[str, OnChainProof],
    verifiers: dict[Form, Contract],
    ezkl: ProofSystem,
) -> None:
    """Of an honest proof and changes of it everywhere, both accept the same: the honest one."""
    chain, contract, given = Chain(), verifiers["reusable"], honest["bmi"]
    address = chain.deploy(contract.compiled.creation)
    chain.call(address, calldata.register(contract.vka))
    statement = parse_receipt(
        (VECTORS / "cases" / "nothing-expected" / "receipt.json").read_bytes()
    ).statement
    verdicts = []
    for proof in _mutations(given.proof, MUTATIONS):
        try:
            ezkl.check(statement, bundles["bmi"], EzklProof.of(proof))
            off_chain = True
        except Rejected:
            off_chain = False
        try:
            chain.call(address, calldata.verify(replace(given, proof=proof), contract.vka))
            on_chain = True
        except Reverted:
            on_chain = False
        verdicts.append((off_chain, on_chain, proof == given.proof))
    assert {verdict for verdict in verdicts if len(set(verdict)) > 1} == set()
    assert verdicts.count((True, True, True)) >= 1


@pytest.mark.parametrize("form", ["single", "reusable"])
def test_no_word_of_a_proof_may_change(
    honest: dict[str, OnChainProof], verifiers: dict[Form, Contract], form: Form
) -> None:
    """Neither form accepts a change of a single word of the proof."""
    chain, contract, given = Chain(), verifiers[form], honest["bmi"]
    address = chain.deploy(contract.compiled.creation)
    if contract.vka:
        chain.call(address, calldata.register(contract.vka))
    accepted = 0
    for proof in _mutations(given.proof, 2 * MUTATIONS):
        try:
            chain.call(address, calldata.verify(replace(given, proof=proof), contract.vka))
            accepted += proof != given.proof
        except Reverted:
            assert proof != given.proof
    assert accepted == 0
