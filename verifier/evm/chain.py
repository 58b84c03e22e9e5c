"""A chain, through any node's JSON-RPC: call, simulate, sign, send. The only network code of contracts.

A key comes from the environment or a keystore file, is never an argument, and signs here; the node only gets what is signed.
Whatever is sent was simulated first, and a revert is told in words. What the node answers is its word: addresses are checked by
their code's hash, as far as one believes the node about that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from eth_account import Account
from eth_account.signers.local import LocalAccount
from requests.exceptions import RequestException
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractLogicError, TimeExhausted, Web3Exception

from .. import files
from ..errors import CouldNotCheck, Rejected, UsageError
from ..wire import printable
from .reverts import explain
from .words import keccak256

KEY_VARIABLE = "VERINFER_PRIVATE_KEY"
PASSWORD_VARIABLE = "VERINFER_KEYSTORE_PASSWORD"  # noqa: S105 - the name of a variable
_TIMEOUT = 60
_INCLUSION_SECONDS = 300
_REQUESTED = keccak256(b"Requested(uint256,address,bytes32,bytes32,uint64)")
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Node:
    """A node that answers, and the chain that it says it is on."""

    web3: Web3
    chain_id: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that was included: its hash, what it used, and the contract that it made, if it made one."""

    transaction: str
    gas: int
    address: str | None
    logs: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    """Of each event: the contract's address, and the topics."""


def connect(url: str) -> Node:
    """The node at `url`; raises `UsageError` or `CouldNotCheck` (``chain-unreachable``, ``chain-refused``)."""
    if not url.startswith(("http://", "https://")):
        raise UsageError("usage", "--rpc-url takes an address that begins with http:// or https://.")
    web3 = Web3(HTTPProvider(url, request_kwargs={"timeout": _TIMEOUT}))
    with _told():
        return Node(web3, int(web3.eth.chain_id))


def read_account(keystore: Path | None) -> LocalAccount:
    """The account of VERINFER_PRIVATE_KEY, or of a keystore file, whose password is asked for if it is not in the environment.

    Raises `UsageError` (``account-missing``) without saying anything of the key.
    """
    try:
        if keystore is None:
            key: Any = os.environ.get(KEY_VARIABLE, "").removeprefix("0x")
            if not _KEY.fullmatch(key):
                # A shorter one would be taken for another key.
                raise ValueError("not 64 hex digits")
        else:
            password = os.environ.get(PASSWORD_VARIABLE)
            if password is None:
                password = click.prompt("Password of the keystore", hide_input=True, err=True)
            key = Account.decrypt(files.read(keystore, limit=1 << 16).decode(), password)
        account: LocalAccount = Account.from_key(key)
    except (ValueError, TypeError, KeyError, AttributeError, Web3Exception):
        # From None: the message could hold what was tried as a key.
        where = f"{keystore} with this password" if keystore else KEY_VARIABLE
        raise UsageError(
            "account-missing",
            f"No key to sign with: {where} holds none. Set {KEY_VARIABLE} (64 hex digits), or give --keystore.",
        ) from None
    return account


def address(text: str) -> str:
    """`text` as an address with a checksum; raises `UsageError`."""
    if not _ADDRESS.fullmatch(text):
        raise UsageError("usage", f"{printable(text, most=64)} is no address: 0x and 40 hex digits.")
    return str(Web3.to_checksum_address(text))


def code_at(node: Node, where: str) -> bytes:
    """The code at an address; empty if there is no contract."""
    with _told():
        return bytes(node.web3.eth.get_code(Web3.to_checksum_address(where)))


def now(node: Node) -> int:
    """The chain's time, in seconds since 1970."""
    with _told():
        return int(node.web3.eth.get_block("latest")["timestamp"])


def call(node: Node, to: str | None, data: bytes, *, sender: str | None = None) -> bytes:
    """What a call would give now, without sending it; raises `Rejected` (``chain-reverted``) or `CouldNotCheck`."""
    with _told():
        return bytes(node.web3.eth.call(_transaction(to, data, sender)))


def estimate(node: Node, to: str, data: bytes) -> int:
    """Gas that a transaction would use; raises as `call` does."""
    with _told():
        return int(node.web3.eth.estimate_gas(_transaction(to, data, None)))


def send(node: Node, account: LocalAccount, to: str | None, data: bytes) -> Sent:
    """Simulate, sign, send and wait for a transaction; without `to` it makes a contract.

    Raises `Rejected` (``chain-reverted``) or `CouldNotCheck` (``chain-unreachable``, ``chain-refused``, ``chain-too-slow``).
    """
    call(node, to, data, sender=account.address)
    eth = node.web3.eth
    with _told():
        transaction = _transaction(to, data, account.address)
        # More than the estimate: a call inside gets 63 64ths of what is left.
        gas = eth.estimate_gas(transaction) * 11 // 10
        tip = eth.max_priority_fee
        base = eth.get_block("latest").get("baseFeePerGas", 0)
        signed = account.sign_transaction(
            {
                **transaction,
                "chainId": node.chain_id,
                "nonce": eth.get_transaction_count(account.address, "pending"),
                "gas": gas,
                "maxPriorityFeePerGas": tip,
                "maxFeePerGas": 2 * base + tip,
                "value": 0,
            }
        )
        sent = eth.send_raw_transaction(signed.raw_transaction)
        receipt = eth.wait_for_transaction_receipt(sent, timeout=_INCLUSION_SECONDS, poll_latency=0.2)
    if receipt["status"] != 1:
        raise Rejected(
            "chain-reverted", f"The transaction {sent.to_0x_hex()} was reverted; it passed when simulated."
        )
    made = receipt["contractAddress"]
    logs = tuple((str(log["address"]), tuple(map(bytes, log["topics"]))) for log in receipt["logs"])
    return Sent(sent.to_0x_hex(), int(receipt["gasUsed"]), str(made) if made else None, logs)


def requested(sent: Sent, consumer: str) -> int:
    """The number of the request that a transaction opened at `consumer`; raises `CouldNotCheck` (``chain-refused``)."""
    for where, topics in sent.logs:
        if where.lower() == consumer.lower() and topics[:1] == (_REQUESTED,) and len(topics) > 1:
            return int.from_bytes(topics[1], "big")
    raise CouldNotCheck("chain-refused", "The node shows no event of the request that was opened.")


def _transaction(to: str | None, data: bytes, sender: str | None) -> Any:
    found = {"to": Web3.to_checksum_address(to) if to else None, "from": sender, "data": f"0x{data.hex()}"}
    return {name: value for name, value in found.items() if value is not None}


@contextmanager
def _told() -> Iterator[None]:
    """Give what a node says against a call a code."""
    try:
        yield
    except ContractLogicError as error:
        name, sentence = explain(_output(error.data))
        raise Rejected("chain-reverted", sentence, field=name or None) from error
    except TimeExhausted as error:
        raise CouldNotCheck(
            "chain-too-slow",
            f"The transaction was not included in {_INCLUSION_SECONDS} s; look for it before a retry.",
        ) from error
    except (RequestException, OSError) as error:
        # Without its text: that holds the address, which may hold a secret.
        raise CouldNotCheck(
            "chain-unreachable", f"The node does not answer ({type(error).__name__}); is --rpc-url right?"
        ) from error
    except (Web3Exception, ValueError, TypeError, KeyError) as error:
        raise CouldNotCheck("chain-refused", f"The node says: {printable(str(error))}") from error


def _output(data: Any) -> bytes:
    """A revert's output, in the forms that nodes give it."""
    text = data.get("data") if isinstance(data, dict) else data
    try:
        return bytes.fromhex(str(text or "").removeprefix("0x"))
    except ValueError:
        return b""
