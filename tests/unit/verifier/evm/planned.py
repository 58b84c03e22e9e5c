"""Requests for which real proofs were made beforehand, and ways to bend these: what the state machine of `rules` plays with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from verinfer.verifier.evm import calldata
from verinfer.verifier.evm.calldata import OnChainProof
from verinfer.verifier.evm.request import Request, input_hash
from verinfer.verifier.instances import BN254_SCALAR_FIELD

from .chain import ALICE, BOB, START, Chain
from .test_consumer import CHAIN_ID, World


@dataclass(frozen=True)
class Planned:
    """A request for which a proof was made beforehand: it is opened as this, and in its turn."""

    requester: str
    deadline: int
    values: tuple[int, ...]


PLAN = {
    1: Planned(ALICE, START + 300, (-300, 200, -7)),
    2: Planned(BOB, START + 100, (300, -200, 7)),
    3: Planned(ALICE, START + 300, (-300, 200, -7)),
}
"""By number; the first and the third differ in their number only."""


@dataclass(frozen=True)
class Prepared:
    """Everything that is dear to make: code, and real proofs for the nonces of the plan."""

    world: World
    proofs: tuple[OnChainProof, ...]

    def deployed(self) -> tuple[World, str]:
        """A new chain with everything on it, at the same addresses each time; and the registry's."""
        own, contract = self.world.own, self.world.contract
        chain = Chain(*(compiled.abi for compiled in own.values()))
        verifier = chain.deploy(contract.compiled.creation)
        registry = chain.deploy(own["ModelRegistry"].creation)
        made = replace(self.world, chain=chain, verifier=verifier)
        consumer = made.consumer_of(name="ClassOnePayout", registry=registry)
        chain.call(verifier, calldata.register(contract.vka))
        return replace(made, consumer=consumer), registry


def bound_of(world: World, number: int, planned: Planned) -> Request:
    """A request as its nonce binds it."""
    return Request(
        chain_id=CHAIN_ID,
        consumer=world.consumer,
        requester=planned.requester,
        request_id=number,
        deadline=planned.deadline,
        model_pin=world.contract.model_pin,
        input_hash=input_hash(world.package.manifest, {"habits": planned.values}),
    )


def _proof(change: Callable[[bytes], bytes]) -> Callable[[OnChainProof], OnChainProof]:
    return lambda given: replace(given, proof=change(given.proof))


def _instance(at: int, change: Callable[[int], int]) -> Callable[[OnChainProof], OnChainProof]:
    def changed(given: OnChainProof) -> OnChainProof:
        vector = list(given.instances)
        vector[at] = change(vector[at])
        return replace(given, instances=tuple(vector))

    return changed


BENT: dict[str, Callable[[OnChainProof], OnChainProof]] = {
    "a bit of the proof": _proof(lambda proof: bytes([proof[0] ^ 1]) + proof[1:]),
    "a shorter proof": _proof(lambda proof: proof[:-32]),
    "a longer proof": _proof(lambda proof: proof + bytes(32)),
    "no proof": _proof(lambda _: b""),
    "an input + 1": _instance(0, lambda value: value + 1),
    "a limb's bit": _instance(7, lambda value: value ^ 1),
    "an output + 1": _instance(-1, lambda value: (value + 1) % BN254_SCALAR_FIELD),
    "an output + r": _instance(-1, lambda value: value + BN254_SCALAR_FIELD),
    "an output of 64 bits": _instance(-2, lambda _: 1 << 63),
    "an instance less": lambda given: replace(given, instances=given.instances[:-1]),
    "an instance more": lambda given: replace(given, instances=(*given.instances, 0)),
    "another statement": lambda given: replace(given, statement="00" * 32),
}
"""Ways to bend an honest answer."""
