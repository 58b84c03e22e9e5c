"""The rules of the consumer, the example on it and its registry, written down a second time, as a state machine.

Each call must end as they say: with the one error that comes first, or with the state, the events and the money that follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from verinfer.verifier.digest import challenge
from verinfer.verifier.evm import calldata
from verinfer.verifier.evm.calldata import OnChainProof
from verinfer.verifier.evm.request import Request
from verinfer.verifier.evm.words import keccak256, packed
from verinfer.verifier.instances import BN254_SCALAR_FIELD

from .chain import ALICE, BOB, CAROL, START, Event, Reverted, encoded
from .planned import BENT, PLAN, Planned, Prepared, bound_of

PEOPLE = (ALICE, BOB, CAROL)
NOBODY = "0x" + "00" * 20
UNKNOWN, ACTIVE, SUPERSEDED, REVOKED = "Unknown", "Active", "Superseded", "Revoked"
STATUSES = (UNKNOWN, ACTIVE, SUPERSEDED, REVOKED)
STATES = ("None", "Open", "Settled", "Expired")
PLACE = st.integers(0, 9)
"""Which request is meant, counted round."""


@dataclass
class Opened:
    """What the rules know of a request."""

    bound: Request
    stake: int
    beneficiary: str
    state: str = "Open"
    answer: tuple[int, ...] = ()


class Rules(RuleBasedStateMachine):
    """What may happen, and what then must."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        self._proofs = prepared.proofs
        self._world, self._registry = prepared.deployed()
        self._chain, self._consumer = self._world.chain, self._world.consumer
        self._pin = bytes.fromhex(self._world.contract.model_pin)
        self._now = START
        self._status, self._versions = UNKNOWN, 0
        self._requests: dict[int, Opened] = {}
        self._credits = dict.fromkeys(PEOPLE, 0)
        self._settled: list[int] = []
        self._publish(self._pin)

    # What can be done.

    @rule(
        as_planned=st.sampled_from([True, True, True, True, False]),
        who=st.sampled_from(PEOPLE),
        seconds=st.integers(-1, 400),
        stake=st.sampled_from([0, 0, 1, 1000]),
        beneficiary=st.sampled_from([*PEOPLE, *PEOPLE, NOBODY]),
    )
    def open(self, as_planned: bool, who: str, seconds: int, stake: int, beneficiary: str) -> None:
        """Anybody opens a request, with a stake or without."""
        number = len(self._requests) + 1
        asked = PLAN.get(number) if as_planned else None
        asked = asked or Planned(who, self._now + seconds, (1, 2, 3))
        bound = bound_of(self._world, number, asked)
        hashed = bytes.fromhex(bound.input_hash)
        if stake:
            data = encoded("stake(bytes32,uint64,address)", hashed, asked.deadline, beneficiary)
        else:
            data = calldata.request(hashed, asked.deadline)
        if stake and beneficiary == NOBODY:
            self._reverts("NoBeneficiary", data, asked.requester, stake)
        elif self._now > asked.deadline:
            self._reverts("DeadlinePassed", data, asked.requester, stake)
        elif self._status != ACTIVE:
            self._reverts("ModelNotActive", data, asked.requester, stake)
        else:
            self._requests[number] = Opened(bound, stake, beneficiary)
            self._gives(
                data,
                asked.requester,
                stake,
                self._event(
                    "Requested(uint256,address,bytes32,bytes32,uint64)",
                    [_word(number), _address(asked.requester)],
                    [bytes.fromhex(bound.nonce), hashed, asked.deadline],
                ),
            )

    @rule(at=PLACE, who=st.sampled_from(PEOPLE))
    def settle(self, at: int, who: str) -> None:
        """Anybody settles a request with the proof that was made for it; for one outside the plan there is none."""
        number = self._some(at)
        self._settle(number, self._own_proof(number), self._world.contract.vka, who)

    @rule(at=PLACE, which=st.integers(0, len(PLAN)), who=st.sampled_from(PEOPLE))
    def settle_with_any_proof(self, at: int, which: int, who: str) -> None:
        """Anybody tries with another request's proof, or with one of another input for its nonce."""
        self._settle(self._some(at), self._proofs[which], self._world.contract.vka, who)

    @rule(at=PLACE, bent=st.sampled_from(list(BENT)), who=st.sampled_from(PEOPLE))
    def settle_with_a_bent_proof(self, at: int, bent: str, who: str) -> None:
        """Anybody bends the proof that was made for a request, or its instances."""
        number = self._some(at)
        self._settle(number, BENT[bent](self._own_proof(number)), self._world.contract.vka, who)

    @rule(at=PLACE, kept=st.sampled_from([0, 1, -1]), who=st.sampled_from(PEOPLE))
    def settle_with_other_words(self, at: int, kept: int, who: str) -> None:
        """Anybody gives a verification key that is not whole."""
        number = self._some(at)
        self._settle(number, self._own_proof(number), self._world.contract.vka[:kept], who)

    @rule(at=PLACE, who=st.sampled_from(PEOPLE))
    def expire(self, at: int, who: str) -> None:
        """Anybody closes a request."""
        self._expire(self._some(at), who)

    @rule(who=st.sampled_from(PEOPLE))
    def withdraw(self, who: str) -> None:
        """Everybody takes what is theirs, and nothing else."""
        amount, before = self._credits[who], self._chain.balance(who)
        if not amount:
            self._reverts("NothingToWithdraw", encoded("withdraw()"), who)
            return
        self._credits[who] = 0
        self._gives(encoded("withdraw()"), who, 0)
        assert self._chain.balance(who) == before + amount

    @rule(seconds=st.sampled_from([1, 10, 100]))
    def pass_time(self, seconds: int) -> None:
        """Blocks go on."""
        self._now += seconds
        self._chain.at(self._now)

    @rule(at=PLACE, seconds=st.sampled_from([0, 1]))
    def settle_around_a_deadline(self, at: int, seconds: int) -> None:
        """Somebody settles at the last second, or one late."""
        number = self._some(at)
        self._wait_for_deadline(number, seconds)
        self._settle(number, self._own_proof(number), self._world.contract.vka, CAROL)

    @rule(at=PLACE, seconds=st.sampled_from([0, 1]))
    def expire_around_a_deadline(self, at: int, seconds: int) -> None:
        """Somebody closes a second early, or as soon as it can be closed."""
        number = self._some(at)
        self._wait_for_deadline(number, seconds)
        self._expire(number, CAROL)

    @rule(who=st.sampled_from([ALICE, BOB]))
    def publish_the_next_version(self, who: str) -> None:
        """The registry's owner supersedes the model; nobody else does."""
        if who != ALICE:
            version = (bytes(32), keccak256(b"a stranger's"), self._world.verifier)
            data = encoded("publish(bytes32,(bytes32,bytes32,address))", bytes(32), version)
            self._reverts("NotOwner", data, who, to=self._registry)
            return
        self._publish(keccak256(b"version %d" % self._versions))
        if self._status == ACTIVE:
            self._status = SUPERSEDED

    @rule(who=st.sampled_from([ALICE, BOB, BOB]))
    def revoke(self, who: str) -> None:
        """The registry's owner revokes the model; nobody else does."""
        data = encoded("revoke(bytes32)", self._pin)
        if who != ALICE:
            self._reverts("NotOwner", data, who, to=self._registry)
            return
        self._status = REVOKED
        self._chain.call(self._registry, data)

    # What must hold at all times.

    @invariant()
    def requests_are_as_the_rules_say(self) -> None:
        """Nobody's request is lost, changed, or counted twice, and an answer is there exactly where one was settled."""
        assert self._read("requestCount()", "uint256") == len(self._requests)
        for number, request in self._requests.items():
            bound = request.bound
            found = self._read("requestOf(uint256)", "(address,uint64,uint8,bytes32)", number)
            kept = (found[0], found[1], STATES[found[2]], found[3].hex())
            assert kept == (bound.requester, bound.deadline, request.state, bound.input_hash)
            assert self._read("nonceOf(uint256)", "bytes32", number).hex() == bound.nonce
            if request.state == "Settled":
                assert self._read("answerOf(uint256)", "int64[]", number) == request.answer
            else:
                self._reverts("NotSettled", calldata.answer_of(number), ALICE)
        assert len(self._settled) == len(set(self._settled))

    @invariant()
    def money_is_as_the_rules_say(self) -> None:
        """Every wei that came in is a stake of an open request, or credited, or withdrawn."""
        stakes = {number: each.stake for number, each in self._requests.items() if each.state == "Open"}
        for number in self._requests:
            found = self._read("stakes(uint256)", "(address,uint96)", number)
            assert found[1] == stakes.get(number, 0)
        for who, amount in self._credits.items():
            assert self._read("credits(address)", "uint256", who) == amount
        held = sum(stakes.values()) + sum(self._credits.values())
        assert self._chain.balance(self._consumer) == held

    @invariant()
    def the_registry_is_as_the_rules_say(self) -> None:
        """The model's status goes one way only."""
        output = self._chain.call(self._registry, encoded("statusOf(bytes32)", self._pin)).output
        assert STATUSES[int.from_bytes(output, "big")] == self._status

    def teardown(self) -> None:
        """In the end every open request can be closed, and everybody gets their money, whatever became of the model."""
        self.pass_time(1000)
        for number, request in self._requests.items():
            if request.state == "Open":
                self._expire(number, CAROL)
            # Closed is closed.
            self._expire(number, BOB)
            self._settle(number, self._own_proof(number), self._world.contract.vka, BOB)
        for who in PEOPLE:
            if self._credits[who]:
                self.withdraw(who)
        assert self._chain.balance(self._consumer) == 0
        assert all(request.state in ("Settled", "Expired") for request in self._requests.values())

    # The rules.

    def _closed(self, number: int) -> str | None:
        """The error for a request that is not open."""
        request = self._requests.get(number)
        if request is None:
            return "UnknownRequest"
        return {"Open": None, "Settled": "AlreadySettled", "Expired": "AlreadyExpired"}[request.state]

    def _refusal(self, number: int, given: OnChainProof, vka: Sequence[bytes]) -> str | None:
        """The first reason not to take an answer, in the order of ``verifier/contracts/README.md``."""
        closed = self._closed(number)
        if closed is not None:
            return closed
        bound, vector = self._requests[number].bound, given.instances
        contract, honest = self._world.contract, [(each.proof, each.instances) for each in self._proofs]
        checks = {
            "DeadlinePassed": self._now <= bound.deadline,
            "ModelRevoked": self._status != REVOKED,
            "WrongInstanceCount": len(vector) == len(self._proofs[0].instances),
            "InstanceNotCanonical": all(value < BN254_SCALAR_FIELD for value in vector),
            "OtherChallenge": vector[3:19] == challenge(bound.nonce, given.statement),
            "OtherInput": keccak256(packed(vector[:3])).hex() == bound.input_hash,
            "AnswerOutOfRange": all(-(1 << 63) < value < 1 << 63 for value in _answer(given)),
            "WrongProofLength": len(given.proof) == len(self._proofs[0].proof),
            "ProofRejected": (given.proof, vector) in honest and tuple(vka) == contract.vka,
        }
        return next((error for error, passed in checks.items() if not passed), None)

    def _paid(self, number: int, to: str) -> list[Event]:
        """The stake goes to somebody's credit, if there is one."""
        amount = self._requests[number].stake
        if not amount:
            return []
        self._credits[to] += amount
        return [self._event("Credited(uint256,address,uint256)", [_word(number), _address(to)], [amount])]

    # How it is done.

    def _some(self, at: int) -> int:
        """The number of a request: one that there is, or the one before the first or after the last."""
        return at % (len(self._requests) + 2)

    def _wait_for_deadline(self, number: int, seconds: int) -> None:
        """The next block is that much after a request's deadline, if that is still to come."""
        if number in self._requests:
            self.pass_time(max(self._requests[number].bound.deadline + seconds - self._now, 0))

    def _own_proof(self, number: int) -> OnChainProof:
        return self._proofs[number - 1 if number in PLAN else 0]

    def _settle(self, number: int, given: OnChainProof, words: Sequence[bytes], who: str) -> None:
        data = calldata.settle(number, given, words)
        error = self._refusal(number, given, words)
        if error is not None:
            self._reverts(error, data, who)
            return
        request = self._requests[number]
        request.state, request.answer = "Settled", _answer(given)
        self._settled.append(number)
        height, weight = request.answer
        self._gives(
            data,
            who,
            0,
            self._event(
                "Settled(uint256,bytes32,int64[])",
                [_word(number)],
                [bytes.fromhex(given.statement), request.answer],
            ),
            *self._paid(number, request.beneficiary if weight > height else request.bound.requester),
        )

    def _expire(self, number: int, who: str) -> None:
        error = self._closed(number)
        if error is None and self._now <= self._requests[number].bound.deadline:
            error = "DeadlineNotPassed"
        data = calldata.expire(number)
        if error is not None:
            self._reverts(error, data, who)
            return
        request = self._requests[number]
        request.state = "Expired"
        event = self._event("Expired(uint256)", [_word(number)], [])
        self._gives(data, who, 0, event, *self._paid(number, request.bound.requester))

    def _publish(self, pin: bytes) -> None:
        version = (bytes(32), pin, self._world.verifier)
        data = encoded("publish(bytes32,(bytes32,bytes32,address))", bytes(32), version)
        self._chain.call(self._registry, data)
        self._versions += 1
        if pin == self._pin:
            self._status = ACTIVE

    def _gives(self, data: bytes, sender: str, value: int, *events: Event) -> None:
        """The call succeeds and logs exactly this."""
        assert self._chain.call(self._consumer, data, sender=sender, value=value).events == events

    def _reverts(
        self, error: str, data: bytes, sender: str, value: int = 0, *, to: str | None = None
    ) -> None:
        """The call reverts by this name; that it changed nothing is for the invariants, which come after each rule."""
        with pytest.raises(Reverted) as caught:
            self._chain.call(to or self._consumer, data, sender=sender, value=value)
        assert caught.value.error == error

    def _event(self, signature: str, indexed: Sequence[bytes], values: Sequence[object]) -> Event:
        types = signature[signature.index("(") + 1 : -1].split(",")[len(indexed) :]
        return Event(self._consumer.lower(), (keccak256(signature.encode()), *indexed), encode(types, values))

    def _read(self, signature: str, answer: str, *values: object) -> Any:
        output = self._chain.call(self._consumer, encoded(signature, *values)).output
        return decode([answer], output)[0]


def _answer(given: OnChainProof) -> tuple[int, ...]:
    """The two outputs as signed integers."""
    half = BN254_SCALAR_FIELD // 2
    return tuple(value if value <= half else value - BN254_SCALAR_FIELD for value in given.instances[19:21])


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _address(text: str) -> bytes:
    return bytes(12) + bytes.fromhex(text.removeprefix("0x"))
