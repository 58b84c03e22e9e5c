"""A chain, through any node's JSON-RPC: call, simulate, sign, send. The only network code of contracts.

A key comes from the environment or a keystore file, is never an argument, and signs here; the node only gets what is signed.
Whatever is sent was simulated first, and a revert is told in words. What the node answers is its word: addresses are checked by
their code's hash, as far as one believes the node about that. Nothing is signed for numbers of the node's that were not compared:
the chain with the caller's, gas and fees with the caller's limits (`fees`), the time with this machine's. Its nonce is believed;
with a wrong one a transaction waits. A contract's address and a transaction's hash follow from what was signed.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from eth_abi.exceptions import DecodingError
from eth_account import Account
from eth_account.signers.local import LocalAccount
from requests.exceptions import RequestException
from web3 import HTTPProvider, Web3
from web3.eth import Eth
from web3.exceptions import ContractLogicError, TimeExhausted, Web3Exception, Web3RPCError
from web3.types import Nonce
from web3.utils import get_create_address

from .. import files
from ..errors import CouldNotCheck, Rejected, UsageError
from ..wire import SAFE_INTEGER, printable
from .fees import Most, fees_of, gas_of
from .reverts import explain
from .transport import bounded_session
from .words import keccak256

KEY_VARIABLE = "VERINFER_PRIVATE_KEY"
PASSWORD_VARIABLE = "VERINFER_KEYSTORE_PASSWORD"  # noqa: S105 - the name of a variable
_TIMEOUT = 60
_INCLUSION_SECONDS = 300
_AHEAD_SECONDS = 86_400
_NUMBER_LIMIT = 1 << 64
"""No gas, fee or time is as large, and no nonce (EIP-2681)."""
_NONSENSE = (DecodingError, ValueError, TypeError, LookupError, AttributeError)
"""What becomes of an answer that has not the form of one, or of a contract's error that has not."""
_REQUESTED = keccak256(b"Requested(uint256,address,bytes32,bytes32,uint64)")
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Node:
    """A node that answers, and the chain that it says it is on."""

    web3: Web3
    chain_id: int


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays for what is sent: an account on a node's chain, and how much at most."""

    node: Node
    account: LocalAccount
    most: Most


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that was included: its hash, what it used, and the contract that it made, if it made one."""

    transaction: str
    gas: int
    address: str | None
    logs: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    """Of each event: the contract's address, and the topics."""


def connect(url: str, chain_id: int | None = None) -> Node:
    """The node at `url`, if it is on the chain of this id; without one, on the chain that it says.

    Raises `UsageError` or `CouldNotCheck` (``chain-unreachable``, ``chain-refused``).
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError("usage", "--rpc-url takes an address that begins with http:// or https://.")
    provider = HTTPProvider(url, request_kwargs={"timeout": _TIMEOUT}, session=bounded_session(_TIMEOUT))
    # Or a contract could have this machine ask any address (EIP-3668).
    provider.global_ccip_read_enabled = False
    web3 = Web3(provider)
    with _told():
        found = _number(web3.eth.chain_id, "chain id")
    if not 1 <= found <= SAFE_INTEGER:
        raise CouldNotCheck("chain-refused", f"The node says that it is on chain {found}, which is none.")
    if chain_id not in (None, found):
        raise UsageError("usage", f"The node is on chain {found}, not on {chain_id}; is --rpc-url right?")
    return Node(web3, found)


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
    """The chain's time or this machine's, the later one, in seconds since 1970: what deadlines are counted from.

    Raises `CouldNotCheck` (``chain-refused``) where the chain is more than a day ahead, or as `call` does.
    """
    with _told():
        found = _number(node.web3.eth.get_block("latest")["timestamp"], "time")
    here = int(time.time())
    if found > here + _AHEAD_SECONDS:
        raise CouldNotCheck(
            "chain-refused",
            "The node's last block is more than a day ahead of this machine's clock; set the clock, or ask another node.",
        )
    # The last block may be old where nothing happens.
    return max(found, here)


def call(node: Node, to: str | None, data: bytes, *, sender: str | None = None) -> bytes:
    """What a call would give now, without sending it; raises `Rejected` (``chain-reverted``) or `CouldNotCheck`."""
    with _told():
        return bytes(node.web3.eth.call(_transaction(to, data, sender)))


def estimate(node: Node, to: str, data: bytes) -> int:
    """Gas that a transaction would use; raises as `call` does."""
    with _told():
        return _number(node.web3.eth.estimate_gas(_transaction(to, data, None)), "gas")


def send(payer: Payer, to: str | None, data: bytes) -> Sent:
    """Simulate, sign, send and wait for a transaction; without `to` it makes a contract.

    Raises `Rejected` (``chain-reverted``, ``fee-too-high``) or `CouldNotCheck` (``chain-unreachable``, ``chain-refused``,
    ``chain-too-slow``).
    """
    account, eth = payer.account, payer.node.web3.eth
    call(payer.node, to, data, sender=account.address)
    with _told():
        transaction = _transaction(to, data, account.address)
        gas = gas_of(_number(eth.estimate_gas(transaction), "gas"), payer.most)
        base = _number(eth.get_block("latest").get("baseFeePerGas", 0), "base fee")
        fees = fees_of(base, _number(_tip(eth), "tip"), payer.most)
        nonce = _number(eth.get_transaction_count(account.address, "pending"), "nonce")
        signed = account.sign_transaction(
            {
                **transaction,
                "chainId": payer.node.chain_id,
                "nonce": nonce,
                "gas": gas,
                "maxPriorityFeePerGas": fees.tip,
                "maxFeePerGas": fees.most,
                "value": 0,
            }
        )
    name = signed.hash.to_0x_hex()
    with _told(name):
        eth.send_raw_transaction(signed.raw_transaction)
        receipt = eth.wait_for_transaction_receipt(signed.hash, timeout=_INCLUSION_SECONDS, poll_latency=0.2)
        succeeded, used = receipt["status"] == 1, _number(receipt["gasUsed"], "gas")
        logs = tuple((str(log["address"]), tuple(map(bytes, log["topics"]))) for log in receipt["logs"])
    if not succeeded:
        raise Rejected("chain-reverted", f"The transaction {name} was reverted; it passed when simulated.")
    made = str(get_create_address(account.address, Nonce(nonce))) if to is None else None
    return Sent(name, used, made, logs)


def _tip(eth: Eth) -> Any:
    """What the node would add to the base fee; web3 goes by recent blocks where a node has no opinion, and warns of it."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return eth.max_priority_fee


def requested(sent: Sent, consumer: str) -> int:
    """The number of the request that a transaction opened at `consumer`; raises `CouldNotCheck` (``chain-refused``)."""
    for where, topics in sent.logs:
        if where.lower() == consumer.lower() and topics[:1] == (_REQUESTED,) and len(topics) > 1:
            number = int.from_bytes(topics[1], "big")
            if 1 <= number <= SAFE_INTEGER:
                return number
    raise CouldNotCheck("chain-refused", f"The node shows no request in the transaction {sent.transaction}.")


def _transaction(to: str | None, data: bytes, sender: str | None) -> Any:
    found = {"to": Web3.to_checksum_address(to) if to else None, "from": sender, "data": f"0x{data.hex()}"}
    return {name: value for name, value in found.items() if value is not None}


def _number(value: Any, name: str) -> int:
    """A number that the node names; raises ValueError, for `_told`."""
    if type(value) is not int or not 0 <= value < _NUMBER_LIMIT:
        raise ValueError(f"the {name} is {str(value)[:64]}")
    return value


@contextmanager
def _told(signed: str | None = None) -> Iterator[None]:
    """Give what a node says against a call a code; from `signed` on, a transaction's hash, nobody should do it again blindly."""
    more = f" The transaction {signed} was signed; look for it before you try again." if signed else ""
    try:
        yield
    except ContractLogicError as error:
        name, sentence = explain(_output(error.data))
        raise Rejected("chain-reverted", sentence + more, field=name or None) from error
    except TimeExhausted as error:
        raise CouldNotCheck(
            "chain-too-slow", f"The transaction was not included in {_INCLUSION_SECONDS} s.{more}"
        ) from error
    except (RequestException, OSError) as error:
        # Without its text: that holds the address, which may hold a secret.
        raise CouldNotCheck(
            "chain-unreachable",
            f"The node does not answer ({type(error).__name__}); is --rpc-url right?{more}",
        ) from error
    except (Web3Exception, *_NONSENSE) as error:
        raise CouldNotCheck("chain-refused", f"The node says: {_words(error)}.{more}") from error


def _words(error: Exception) -> str:
    """The node's own words, or what came of an answer that is none."""
    answer = error.rpc_response if isinstance(error, Web3RPCError) else None
    said = answer["error"]["message"] if answer and "error" in answer else error
    return printable(str(said)).rstrip(".")


def _output(data: Any) -> bytes:
    """A revert's output, in the forms that nodes give it."""
    text = data.get("data") if isinstance(data, dict) else data
    try:
        return bytes.fromhex(str(text or "").removeprefix("0x"))
    except ValueError:
        return b""
