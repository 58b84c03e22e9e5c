"""A chain in this process: real bytecode in a real EVM, and what tests say to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from pyrevm import EVM, BlockEnv, CfgEnv, Env, Log

from verinfer.verifier.evm import calldata
from verinfer.verifier.evm.calldata import OnChainProof
from verinfer.verifier.evm.words import selector

ALICE, BOB, CAROL = "0x" + "a1" * 20, "0x" + "b0" * 20, "0x" + "ca" * 20
START = 1_800_000_000
GAS = 2**31


class Reverted(Exception):
    """A call was reverted, with an error of the contract's ABI or with nothing."""

    def __init__(self, output: bytes, errors: dict[bytes, str]) -> None:
        self.error = errors.get(output[:4], "")
        super().__init__(self.error or output.hex())


@dataclass(frozen=True, slots=True)
class Event:
    """What a contract logged: where, the topics, the data."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """What a call gave, cost and logged."""

    output: bytes
    gas: int
    events: tuple[Event, ...]


class Chain:
    """One EVM; code may be of any size, so that verifiers that are too large for a real chain can be tried, too."""

    def __init__(self, *abis: Iterable[dict[str, Any]]) -> None:
        self._evm = EVM(env=Env(cfg=CfgEnv(limit_contract_code_size=1 << 20)))
        self._errors = {
            selector(f"{item['name']}({','.join(part['type'] for part in item['inputs'])})"): item["name"]
            for abi in abis
            for item in abi
            if item["type"] == "error"
        }
        for account in (ALICE, BOB, CAROL):
            self._evm.set_balance(account, 10**20)
        self.at(START)

    def at(self, timestamp: int) -> None:
        """Blocks from now on are of this time."""
        self._evm.set_block_env(BlockEnv(timestamp=timestamp))

    def deploy(self, code: bytes) -> str:
        """The address of a new contract; raises `Reverted`."""
        try:
            return self._evm.deploy(ALICE, code, gas=GAS)
        except RuntimeError as error:
            raise self._reverted(error) from error

    def code(self, address: str) -> bytes:
        """The code at `address`."""
        return self._evm.get_code(address) or b""

    def balance(self, address: str) -> int:
        """Wei of `address`."""
        return self._evm.get_balance(address)

    def call(self, to: str, data: bytes, *, sender: str = ALICE, value: int = 0) -> Done:
        """One transaction; raises `Reverted`."""
        try:
            output = self._evm.message_call(sender, to, calldata=data, value=value, gas=GAS)
        except RuntimeError as error:
            raise self._reverted(error) from error
        assert self._evm.result is not None
        events = tuple(_event(log) for log in self._evm.result.logs)
        return Done(bytes(output), self._evm.result.gas_used, events)

    def storage(self, address: str, slots: int) -> list[int]:
        """The first storage slots of `address`."""
        return [self._evm.storage(address, slot) for slot in range(slots)]

    def _reverted(self, error: RuntimeError) -> Exception:
        found = re.fullmatch(r"Revert \{ gas_used: \d+, output: 0x([0-9a-f]*) \}", str(error))
        return Reverted(bytes.fromhex(found[1]), self._errors) if found else error


def _event(log: Log) -> Event:
    topics, data = log.data
    return Event(log.address.lower(), tuple(bytes(topic) for topic in topics), bytes(data))


def relocated(given: OnChainProof, vka: Sequence[bytes]) -> bytes:
    """A verifier's calldata with the proof twice: where it belongs, and at the end, where the ABI's offset points."""
    canonical = calldata.verify(given, vka)
    head, body = canonical[:4], canonical[4:]
    copy = len(given.proof).to_bytes(32, "big") + given.proof
    return head + len(body).to_bytes(32, "big") + body[32:] + copy


def with_instances_moved(given: OnChainProof, vka: Sequence[bytes], named: Sequence[int]) -> bytes:
    """A verifier's calldata with honest instances where they belong, and `named` ones at the end, where the offset points."""
    canonical = calldata.verify(given, vka)
    head, body = canonical[:4], canonical[4:]
    moved = b"".join(value.to_bytes(32, "big") for value in (len(named), *named))
    return head + body[:32] + len(body).to_bytes(32, "big") + body[64:] + moved


def encoded(signature: str, *values: Any) -> bytes:
    """A call by its signature, such as ``publish(bytes32,(bytes32,bytes32,address))``."""
    inside = signature[signature.index("(") + 1 : -1]
    types = re.findall(r"\([^)]*\)(?:\[\])?|[^,]+", inside)
    return selector(signature) + encode(types, values)
