"""The consumer contract: an answer counts for its own request, on its own input, once; every other way reverts by name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from eth_abi.abi import decode

from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.package import Package
from verinfer.circuits.provers import prover_for
from verinfer.verifier.digest import challenge_bytes, to_limbs
from verinfer.verifier.errors import UsageError
from verinfer.verifier.evidence import Proof
from verinfer.verifier.evm import calldata
from verinfer.verifier.evm.build import Contract
from verinfer.verifier.evm.calldata import Layout, OnChainProof
from verinfer.verifier.evm.harden import Form
from verinfer.verifier.evm.request import Request, input_hash
from verinfer.verifier.evm.solc import Compiled
from verinfer.verifier.evm.words import elements, keccak256, signed
from verinfer.verifier.instances import BN254_SCALAR_FIELD, build_instances

from .chain import ALICE, BOB, START, Chain, Reverted, encoded, relocated

DEADLINE = START + 3600
INPUT = (40, -80, 120)
STATEMENT = hashlib.sha256(b"any statement").hexdigest()
CHAIN_ID = 1
NO_DIGEST = bytes(32)


@dataclass(frozen=True)
class World:
    """A chain with a verifier and a consumer of the package's circuit, and the prover."""

    chain: Chain
    package: Package
    contract: Contract
    own: dict[str, Compiled]
    verifier: str
    consumer: str
    place: Workplace

    def consumer_of(
        self, *, name: str = "InferenceConsumer", registry: str | None = None, **pins: bytes
    ) -> str:
        """Another consumer; `pins` are its code hash or VKA digest if they are not the right ones."""
        digest = self.contract.vka_digest
        assert digest is not None
        arguments = calldata.constructor(
            self.verifier,
            pins.get("code_hash", bytes.fromhex(self.contract.code_hash)),
            pins.get("vka_digest", bytes.fromhex(digest)),
            Layout.of(self.package.manifest),
            registry,
        )
        return self.chain.deploy(self.own[name].creation + arguments)

    def opened(self, consumer: str, values: Sequence[int] = INPUT, deadline: int = DEADLINE) -> Request:
        """A request of Alice's, its nonce as everybody computes it."""
        hashed = input_hash(self.package.manifest, {"habits": values})
        data = calldata.request(bytes.fromhex(hashed), deadline)
        number = int.from_bytes(self.chain.call(consumer, data).output, "big")
        return self.request(consumer, number, hashed, deadline)

    def request(self, consumer: str, number: int, hashed: str, deadline: int = DEADLINE) -> Request:
        """A request as it is bound on chain."""
        return Request(
            chain_id=CHAIN_ID,
            consumer=consumer,
            requester=ALICE,
            request_id=number,
            deadline=deadline,
            model_pin=self.contract.model_pin,
            input_hash=hashed,
        )

    def proof(self, nonce: str, values: Sequence[int] = INPUT) -> OnChainProof:
        """A real proof of the package's circuit on this input, for this nonce."""
        prover, inputs = prover_for(self.package.manifest), {"habits": values}
        witness = prover.forward(self.package, inputs, self.place)
        challenge = challenge_bytes(nonce, STATEMENT)
        evidence = prover.prove(self.package, witness, challenge, self.place, lambda _phase, _share: None)
        assert isinstance(evidence, Proof)
        vector = build_instances(
            self.package.manifest.layout, {**inputs, **witness.outputs}, to_limbs(challenge)
        )
        return OnChainProof(evidence.data, elements(vector), STATEMENT)

    def settle(self, request: Request, given: OnChainProof, *, sender: str = ALICE) -> bytes:
        """Settle as anybody could."""
        data = calldata.settle(request.request_id, given, self.contract.vka)
        return self.chain.call(request.consumer, data, sender=sender).output

    def refused(self, request: Request, given: OnChainProof) -> str:
        """The name of the error with which a settlement reverts, having changed nothing."""
        before = self.chain.call(request.consumer, encoded("requestOf(uint256)", request.request_id)).output
        with pytest.raises(Reverted) as caught:
            self.settle(request, given)
        after = self.chain.call(request.consumer, encoded("requestOf(uint256)", request.request_id)).output
        assert before == after
        return caught.value.error


@pytest.fixture(scope="module")
def world(
    bmi_package: Package,
    bmi_verifier: Contract,
    own: dict[str, Compiled],
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    """Everything deployed; the VKA is registered."""
    chain = Chain(*(compiled.abi for compiled in own.values()))
    verifier = chain.deploy(bmi_verifier.compiled.creation)
    chain.call(verifier, calldata.register(bmi_verifier.vka))
    place = Workplace(directory=tmp_path_factory.mktemp("proofs"), limits=heavy_limits())
    made = World(chain, bmi_package, bmi_verifier, own, verifier, "", place)
    return replace(made, consumer=made.consumer_of())


@pytest.fixture(autouse=True)
def _clock(world: World) -> None:
    """Each test begins at the same time."""
    world.chain.at(START)


@pytest.fixture(scope="module")
def first(world: World) -> tuple[Request, OnChainProof]:
    """A request that stays open, and its honest proof."""
    request = world.opened(world.consumer)
    return request, world.proof(request.nonce)


def test_an_answer_settles_its_request_once(world: World) -> None:
    """Anybody may settle; the decoded answer is the circuit's, with its signs, as we encode it; a replay reverts."""
    request = world.opened(world.consumer, values=(-300, 200, -7))
    given = world.proof(request.nonce, values=(-300, 200, -7))
    world.settle(request, given, sender=BOB)
    output = world.chain.call(world.consumer, calldata.answer_of(request.request_id)).output
    (answer,) = decode(["int64[]"], output)
    assert answer == signed(given.instances[-2:])
    assert elements(answer) == given.instances[-2:]
    assert output == calldata.answered(answer)
    assert any(value < 0 for value in answer)
    assert world.refused(request, given) == "AlreadySettled"


def test_the_nonce_is_the_one_that_we_compute(world: World, first: tuple[Request, OnChainProof]) -> None:
    """Contract and library agree on what a request binds (design, section 9)."""
    request, _ = first
    output = world.chain.call(world.consumer, calldata.nonce_of(request.request_id)).output
    assert output.hex() == request.nonce


def test_lies_revert_by_name(world: World, first: tuple[Request, OnChainProof]) -> None:
    """Each way to bend an honest answer has its own error, and none changes anything; the answer itself still settles later."""
    request, given = first
    last = given.instances[-1]
    longer, shorter = given.proof + bytes(32), given.proof[:-32]
    lies = {
        "InstanceNotCanonical": replace(given, instances=(*given.instances[:-1], last + BN254_SCALAR_FIELD)),
        "OtherInput": replace(given, instances=(given.instances[0] + 1, *given.instances[1:])),
        "OtherChallenge": replace(given, statement="00" * 32),
        "WrongInstanceCount": replace(given, instances=(*given.instances, 0)),
        "AnswerOutOfRange": replace(given, instances=(*given.instances[:-1], 1 << 63)),
        "ProofRejected": replace(given, instances=(*given.instances[:-1], last + 1)),
    }
    for name, lie in lies.items():
        assert world.refused(request, lie) == name
    for proof in (longer, shorter, b""):
        assert world.refused(request, replace(given, proof=proof)) == "WrongProofLength"
    flipped = bytes([given.proof[0] ^ 1]) + given.proof[1:]
    assert world.refused(request, replace(given, proof=flipped)) == "ProofRejected"
    assert world.refused(replace(request, request_id=999), given) == "UnknownRequest"


def test_each_limb_of_the_challenge_counts(world: World, first: tuple[Request, OnChainProof]) -> None:
    """None of the 16 limbs may differ."""
    request, given = first
    for index in range(3, 19):
        changed = list(given.instances)
        changed[index] ^= 1
        assert world.refused(request, replace(given, instances=tuple(changed))) == "OtherChallenge"


def test_another_requests_answer_does_not_settle(world: World, first: tuple[Request, OnChainProof]) -> None:
    """The same input asked twice has two nonces, here and at another consumer of the same model."""
    request, given = first
    again = world.opened(world.consumer)
    assert world.refused(again, given) == "OtherChallenge"
    elsewhere = world.opened(world.consumer_of())
    assert world.refused(elsewhere, given) == "OtherChallenge"
    assert again.nonce != request.nonce != elsewhere.nonce


def test_another_input_with_the_same_nonce_does_not_settle(world: World) -> None:
    """Whoever reads the nonce on chain and asks the service with an input of their own has a valid proof, and settles nothing."""
    request = world.opened(world.consumer)
    assert world.refused(request, world.proof(request.nonce, values=(1, 2, 3))) == "OtherInput"


def test_another_models_proof_does_not_settle(world: World, verifiers: dict[Form, Contract]) -> None:
    """A circuit of the same layout with other numbers is another model: by its proof, and by its VKA."""
    other = verifiers["reusable"]
    world.chain.call(world.verifier, calldata.register(other.vka))
    pinned_elsewhere = replace(world, contract=other)
    consumer = pinned_elsewhere.consumer_of()
    request = pinned_elsewhere.opened(consumer)
    given = world.proof(request.nonce)
    # Under the pinned words the proof is wrong; under its own it is valid, and of another model.
    assert pinned_elsewhere.refused(request, given) == "ProofRejected"
    assert world.refused(request, given) == "OtherModel"


def test_a_relocated_proof_reverts_in_the_verifier(world: World, first: tuple[Request, OnChainProof]) -> None:
    """Called past the consumer with calldata of another form, the verifier under it refuses an honest proof."""
    _, given = first
    world.chain.call(world.verifier, calldata.verify(given, world.contract.vka))
    with pytest.raises(Reverted):
        world.chain.call(world.verifier, relocated(given, world.contract.vka))


def test_time_runs_out(world: World) -> None:
    """At the deadline a request can be settled, after it only expired, once; before it, not expired."""
    request = world.opened(world.consumer)
    given = world.proof(request.nonce)
    expire = calldata.expire(request.request_id)
    world.chain.at(DEADLINE)
    with pytest.raises(Reverted, match="DeadlineNotPassed"):
        world.chain.call(world.consumer, expire)
    world.chain.at(DEADLINE + 1)
    assert world.refused(request, given) == "DeadlinePassed"
    world.chain.call(world.consumer, expire, sender=BOB)
    with pytest.raises(Reverted, match="AlreadyExpired"):
        world.chain.call(world.consumer, expire)
    world.chain.at(START)
    assert world.refused(request, given) == "AlreadyExpired"
    with pytest.raises(Reverted, match="NotSettled"):
        world.chain.call(world.consumer, calldata.answer_of(request.request_id))
    with pytest.raises(Reverted, match="DeadlinePassed"):
        world.opened(world.consumer, deadline=START - 1)


def test_a_circuit_that_hides_its_input_has_no_consumer(hashed_package: Package) -> None:
    """Its challenge is not among the instances as the consumer looks for it; the error says so before anything is built."""
    with pytest.raises(UsageError) as caught:
        Layout.of(hashed_package.manifest)
    assert caught.value.code == "inputs-hidden"


def test_a_consumer_pins_its_verifier(world: World) -> None:
    """It cannot be deployed for a verifier with other code than it was told, nor without a verifier."""
    with pytest.raises(Reverted, match="OtherVerifier"):
        world.consumer_of(code_hash=keccak256(b"other code"))
    nowhere = replace(world, verifier="0x" + "99" * 20)
    with pytest.raises(Reverted, match="OtherVerifier"):
        nowhere.consumer_of()


def test_a_consumer_follows_its_registry(world: World) -> None:
    """Requests are opened for an active version; those of a superseded one may still be settled, of a revoked one not."""
    registry = world.chain.deploy(world.own["ModelRegistry"].creation)
    consumer = world.consumer_of(registry=registry)
    model = bytes.fromhex(world.package.manifest.model.onnx)

    def publish(pin: bytes) -> None:
        version = (bytes.fromhex(world.package.digest), pin, world.verifier)
        world.chain.call(registry, encoded("publish(bytes32,(bytes32,bytes32,address))", model, version))

    with pytest.raises(Reverted, match="ModelNotActive"):
        world.opened(consumer)
    pin = bytes.fromhex(world.contract.model_pin)
    publish(pin)
    early, late = world.opened(consumer), world.opened(consumer)
    publish(keccak256(b"next version"))
    with pytest.raises(Reverted, match="ModelNotActive"):
        world.opened(consumer)
    world.settle(early, world.proof(early.nonce))
    world.chain.call(registry, encoded("revoke(bytes32)", pin))
    assert world.refused(late, world.proof(late.nonce)) == "ModelRevoked"
    with pytest.raises(Reverted, match="PinPublished"):
        publish(pin)


def test_the_registry_has_one_owner(world: World) -> None:
    """Only the owner publishes and revokes; a new owner has to accept; nothing is revoked that was not published."""
    registry = world.chain.deploy(world.own["ModelRegistry"].creation)
    version = (NO_DIGEST, keccak256(b"pin"), world.verifier)
    publish = encoded("publish(bytes32,(bytes32,bytes32,address))", NO_DIGEST, version)
    revoke = encoded("revoke(bytes32)", keccak256(b"pin"))
    for data in (publish, revoke, encoded("offerOwnership(address)", BOB)):
        with pytest.raises(Reverted, match="NotOwner"):
            world.chain.call(registry, data, sender=BOB)
    with pytest.raises(Reverted, match="PinNotPublished"):
        world.chain.call(registry, revoke)
    with pytest.raises(Reverted, match="PinEmpty"):
        world.chain.call(
            registry,
            encoded("publish(bytes32,(bytes32,bytes32,address))", NO_DIGEST, (NO_DIGEST, NO_DIGEST, ALICE)),
        )
    with pytest.raises(Reverted, match="NoVersion"):
        world.chain.call(registry, encoded("latest(bytes32)", NO_DIGEST))
    world.chain.call(registry, encoded("offerOwnership(address)", BOB))
    with pytest.raises(Reverted, match="NotOffered"):
        world.chain.call(registry, encoded("takeOwnership()"))
    world.chain.call(registry, encoded("takeOwnership()"), sender=BOB)
    world.chain.call(registry, publish, sender=BOB)
    latest = world.chain.call(registry, encoded("latest(bytes32)", NO_DIGEST)).output
    assert latest[32:64] == keccak256(b"pin")
    assert int.from_bytes(latest[96:128], "big") == 1


def test_the_example_pays_by_the_answer(world: World) -> None:
    """A stake goes to the beneficiary where class 1 is largest, else back; after the deadline back; each wei once."""
    payout = world.consumer_of(name="ClassOnePayout")
    chain = world.chain

    def staked(values: Sequence[int]) -> Request:
        hashed = input_hash(world.package.manifest, {"habits": values})
        data = encoded("stake(bytes32,uint64,address)", bytes.fromhex(hashed), DEADLINE, BOB)
        number = int.from_bytes(chain.call(payout, data, value=1000).output, "big")
        return world.request(payout, number, hashed)

    def credit(who: str) -> int:
        return int.from_bytes(chain.call(payout, encoded("credits(address)", who)).output, "big")

    samples = {}
    for values in ((-300, 200, -7), (300, -200, 7)):
        request = staked(values)
        given = world.proof(request.nonce, values=values)
        height, weight = (
            value - BN254_SCALAR_FIELD if value > 1 << 63 else value for value in given.instances[-2:]
        )
        before = credit(BOB), credit(ALICE)
        world.settle(request, given, sender="0x" + "cc" * 20)
        paid = (credit(BOB) - before[0], credit(ALICE) - before[1])
        assert paid == ((1000, 0) if weight > height else (0, 1000))
        samples[weight > height] = values
        assert world.refused(request, given) == "AlreadySettled"
    assert set(samples) == {True, False}, "the two inputs must go both ways"
    late = staked(INPUT)
    chain.at(DEADLINE + 1)
    chain.call(payout, calldata.expire(late.request_id), sender=BOB)
    assert credit(ALICE) == 2000
    owned = chain.balance(ALICE)
    chain.call(payout, encoded("withdraw()"))
    assert chain.balance(ALICE) == owned + 2000
    with pytest.raises(Reverted, match="NothingToWithdraw"):
        chain.call(payout, encoded("withdraw()"))


def test_the_example_takes_no_stake_that_nobody_could_withdraw(world: World) -> None:
    """Nothing staked, or nobody to get it: an error of its own for each, no request, and the money stays where it was."""
    payout = world.consumer_of(name="ClassOnePayout")
    nobody, before = "0x" + "00" * 20, world.chain.balance(ALICE)
    for beneficiary, value, error in (
        (nobody, 1000, "NoBeneficiary"),
        (BOB, 0, "StakeOutOfRange"),
        (nobody, 0, "StakeOutOfRange"),
    ):
        data = encoded("stake(bytes32,uint64,address)", NO_DIGEST, DEADLINE, beneficiary)
        with pytest.raises(Reverted) as caught:
            world.chain.call(payout, data, value=value)
        assert caught.value.error == error
    count = world.chain.call(payout, encoded("requestCount()")).output
    assert (int.from_bytes(count, "big"), world.chain.balance(payout)) == (0, 0)
    assert world.chain.balance(ALICE) == before
