"""What a hostile node, or a contract on an honest one, gets from who sends transactions: nothing that was not allowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from verinfer.verifier.errors import CouldNotCheck, Rejected, UsageError, VerinferError
from verinfer.verifier.evm import chain
from verinfer.verifier.evm.fees import MOST_GAS, MOST_GWEI, Most, read_most
from verinfer.verifier.evm.transport import ANSWER_LIMIT
from verinfer.verifier.evm.words import keccak256, selector

from ....lying import Liar, Lie, always, lying
from ....node import KEY, free_port, running

CHAIN = 31337
CODE = bytes.fromhex("5f5ff3")
MAKES_CODE = bytes.fromhex("625f5ff35f526003601df3")
"""Deploys `CODE`, which gives nothing, whatever it is asked."""
REVERTS = "5f5ffd"
NUMBERS: dict[str, Callable[[Any], Lie]] = {
    "eth_estimateGas": always,
    "eth_maxPriorityFeePerGas": always,
    "eth_getTransactionCount": always,
    "eth_getBlockByNumber": lambda value: _of_block("baseFeePerGas", value),
}
"""The methods whose answers are signed, and how one lies with a number there."""


def _of_block(name: str, value: Any) -> Lie:
    return lambda _asked, block: {**block, name: value}


@pytest.fixture(scope="module")
def rpc() -> Iterator[str]:
    """An honest node."""
    with running(free_port()) as url:
        yield url


@pytest.fixture
def liar(rpc: str) -> Iterator[Liar]:
    """A node that does not lie yet."""
    with lying(rpc) as found:
        yield found


def _payer(liar: Liar, most: Most | None = None) -> chain.Payer:
    most = most or read_most(MOST_GWEI, MOST_GAS)
    return chain.Payer(chain.connect(liar.url, CHAIN), Account.from_key(KEY), most)


def _signed(liar: Liar) -> dict[str, Any]:
    """The one transaction that the node was given."""
    (raw,) = liar.signed
    found = TypedTransaction.from_bytes(HexBytes(raw))
    fields: dict[str, Any] = found.as_dict()
    return fields


TOO_MUCH: dict[str, tuple[str, Lie, str]] = {
    "a tip of an ether": ("eth_maxPriorityFeePerGas", always(hex(10**18)), "gwei"),
    "a tip of the limit": ("eth_maxPriorityFeePerGas", always(hex(10**10)), "gwei"),
    "a base fee": ("eth_getBlockByNumber", _of_block("baseFeePerGas", hex(10**15)), "gwei"),
    "a gas more": ("eth_estimateGas", always(hex(MOST_GAS + 1)), "gas"),
    "all gas": ("eth_estimateGas", always(hex(2**63)), "gas"),
}


@pytest.mark.parametrize("case", TOO_MUCH)
def test_what_costs_too_much_is_not_signed(case: str, liar: Liar) -> None:
    """A tip or a base fee that empties an account, or more gas than any of our transactions takes."""
    method, lie, field = TOO_MUCH[case]
    payer = _payer(liar)
    liar.lies[method] = lie
    with pytest.raises(Rejected, match=f"nothing was signed.*--most-{field}") as caught:
        chain.send(payer, None, MAKES_CODE)
    assert (caught.value.code, caught.value.field) == ("fee-too-high", field)
    assert liar.signed == []


def test_what_is_signed_is_within_the_limits(liar: Liar) -> None:
    """A greedy node gets the limit and no more; the rest is the caller's: chain, data, no value."""
    payer = _payer(liar, Most(wei=5 * 10**9, gas=100_000))
    liar.lies["eth_getBlockByNumber"] = _of_block("baseFeePerGas", hex(3 * 10**9))
    liar.lies["eth_maxPriorityFeePerGas"] = always(hex(2 * 10**9))
    liar.lies["eth_estimateGas"] = always(hex(99_999))
    chain.send(payer, None, MAKES_CODE)
    signed = _signed(liar)
    assert (signed["maxFeePerGas"], signed["maxPriorityFeePerGas"], signed["gas"]) == (
        5 * 10**9,
        2 * 10**9,
        100_000,
    )
    assert (signed["chainId"], signed["value"], signed["data"]) == (CHAIN, 0, MAKES_CODE)


NO_NUMBERS: tuple[Any, ...] = (
    None,
    True,
    -1,
    "-0x1",
    "",
    "0x",
    "ten",
    1.5,
    [],
    {},
    {"a": 1},
    hex(2**64),
    "9" * 5000,
)


@pytest.mark.parametrize("method", NUMBERS)
def test_what_is_no_number_is_not_signed(method: str, liar: Liar) -> None:
    """Gas, fees and nonce are natural numbers below 2^64; for anything else there is a code, and no transaction."""
    payer = _payer(liar)
    for value in NO_NUMBERS:
        liar.lies[method] = NUMBERS[method](value)
        with pytest.raises(CouldNotCheck) as caught:
            chain.send(payer, None, MAKES_CODE)
        assert caught.value.code == "chain-refused", value
    assert liar.signed == []


def test_what_is_no_chain_is_refused(liar: Liar) -> None:
    """Whether the caller named a chain or not."""
    for value in (0, "0x0", hex(2**53), hex(2**256), *NO_NUMBERS):
        liar.lies["eth_chainId"] = always(value)
        for chain_id in (None, CHAIN):
            with pytest.raises(CouldNotCheck) as caught:
                chain.connect(liar.url, chain_id)
            assert caught.value.code == "chain-refused", value


def test_another_chain_than_the_callers_is_refused(liar: Liar) -> None:
    """A node of a test chain could name the main one, where the same account has real ether."""
    assert chain.connect(liar.url, CHAIN).chain_id == CHAIN
    liar.lies["eth_chainId"] = always("0x1")
    with pytest.raises(UsageError, match="on chain 1, not on 31337"):
        chain.connect(liar.url, CHAIN)


WHOLE = [
    b"",
    b"\xff",
    b"null",
    b"[]",
    b"{}",
    b"7",
    b'"x"',
    b"[" * 100_000,
    b'{"jsonrpc":"2.0","id":0}',
    b'{"jsonrpc":"2.0","id":0,"result":' + b"9" * 10_000 + b"}",
    b'{"jsonrpc":"2.0","id":0,"error":7}',
    b'{"jsonrpc":"2.0","id":0,"error":{"code":"x","message":[]}}',
    b'{"jsonrpc":"2.0","id":0,"error":{"code":3,"message":"execution reverted","data":"0xzz"}}',
    b'{"jsonrpc":"2.0","id":0,"error":{"code":3,"message":"execution reverted","data":{"data":7}}}',
    b'{"jsonrpc":"2.0","id":0,"error":{"code":3,"message":"execution reverted","data":"0x556f183000"}}',
    b'{"jsonrpc":"2.0","id":0,"error":{"code":3,"message":"execution reverted","data":"0x4e487b7199"}}',
    b'{"jsonrpc":"2.0","id":0,"error":{"code":1,"message":"\\u001b[2Jpaid"}}',
    b'{"jsonrpc":"2.0","id":0,"result":"0x1"}' + b" " * ANSWER_LIMIT,
]
"""Answers that are none."""


@pytest.mark.parametrize("answer", WHOLE, ids=range(len(WHOLE)))
def test_an_answer_that_is_none_has_a_code(answer: bytes, liar: Liar) -> None:
    """To whichever question: never a traceback, nothing on the terminal that the node chose, and nothing signed before."""
    payer = _payer(liar)
    for method in ("eth_call", *NUMBERS):
        liar.lies = dict.fromkeys((method, "eth_feeHistory"), answer)
        with pytest.raises(VerinferError) as caught:
            chain.send(payer, None, MAKES_CODE)
        assert caught.value.code in ("chain-refused", "chain-reverted")
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 500
    assert liar.signed == []


def test_a_node_leads_to_no_other_address(liar: Liar, rpc: str) -> None:
    """A redirect is not followed, whoever is there, since it may be a service that only this machine can reach."""
    liar.elsewhere = rpc
    with pytest.raises(CouldNotCheck) as caught:
        chain.connect(liar.url)
    assert caught.value.code == "chain-unreachable"


def test_a_contract_leads_to_no_other_address(liar: Liar) -> None:
    """An error that asks the client to look something up elsewhere (EIP-3668) is an error as any."""
    payer = _payer(liar)
    lookup = selector("OffchainLookup(address,string[],bytes,bytes4,bytes)")
    words = [int("99" * 20, 16), 160, 224, 0, 256, 0, 0, 0, 0]
    data = lookup + b"".join(word.to_bytes(32, "big") for word in words)
    answer = '{"jsonrpc":"2.0","id":0,"error":{"code":3,"message":"execution reverted","data":"0x%s"}}'
    liar.lies["eth_call"] = (answer % data.hex()).encode()
    with pytest.raises(Rejected) as caught:
        chain.call(payer.node, "0x" + "99" * 20, b"")
    assert caught.value.code == "chain-reverted"


def test_hash_and_address_follow_from_what_was_signed(liar: Liar) -> None:
    """Of a transaction and of the contract that it makes: a node that names others is not followed."""
    payer = _payer(liar)
    liar.lies["eth_sendRawTransaction"] = lambda _asked, _true: "0x" + "77" * 32
    liar.lies["eth_getTransactionReceipt"] = lambda _asked, true: (
        true and {**true, "contractAddress": "0x" + "88" * 20, "transactionHash": "0x" + "77" * 32}
    )
    sent = chain.send(payer, None, MAKES_CODE)
    assert sent.transaction == f"0x{keccak256(bytes.fromhex(liar.signed[0][2:])).hex()}"
    assert sent.address is not None
    assert chain.code_at(payer.node, sent.address) == CODE
    assert chain.send(payer, sent.address, b"").address is None


RECEIPTS: dict[str, Any] = {
    "no receipt": "x",
    "a number": 7,
    "nothing in it": {},
    "no status": {"gasUsed": "0x1", "logs": []},
    "no gas": {"status": "0x1", "gasUsed": "x", "logs": []},
    "negative gas": {"status": "0x1", "gasUsed": -1, "logs": []},
    "no logs": {"status": "0x1", "gasUsed": "0x1", "logs": 5},
    "no log": {"status": "0x1", "gasUsed": "0x1", "logs": ["x"]},
    "no topics": {"status": "0x1", "gasUsed": "0x1", "logs": [{"address": 5, "topics": [10**12]}]},
}


@pytest.mark.parametrize("case", RECEIPTS)
def test_a_receipt_that_is_none_names_the_transaction(case: str, liar: Liar) -> None:
    """It was signed, so whoever tries again must look for it first: the message says so, with the hash."""
    payer = _payer(liar)
    liar.lies["eth_getTransactionReceipt"] = always(RECEIPTS[case])
    with pytest.raises(CouldNotCheck, match=r"0x[0-9a-f]{64} was signed; look for it") as caught:
        chain.send(payer, None, MAKES_CODE)
    assert caught.value.code == "chain-refused"
    assert caught.value.message.isprintable()


def test_a_transaction_that_is_kept_back_is_named(liar: Liar) -> None:
    """A node that says no can still send it later, so the message does not let one sign a second one blindly."""
    payer = _payer(liar)
    liar.lies["eth_sendRawTransaction"] = WHOLE[-2]
    with pytest.raises(CouldNotCheck, match=r"0x[0-9a-f]{64} was signed; look for it") as kept:
        chain.send(payer, None, MAKES_CODE)
    assert kept.value.message.startswith("The node says: ?[2Jpaid. The transaction")
    liar.lies = {"eth_getTransactionReceipt": lambda _asked, true: true and {**true, "status": "0x0"}}
    with pytest.raises(Rejected, match="was reverted") as caught:
        chain.send(payer, None, MAKES_CODE)
    assert caught.value.code == "chain-reverted"


def test_what_reverts_is_not_signed(liar: Liar) -> None:
    """Everything is simulated first."""
    with pytest.raises(Rejected) as caught:
        chain.send(_payer(liar), None, bytes.fromhex(REVERTS))
    assert caught.value.code == "chain-reverted"
    assert liar.signed == []


def test_deadlines_are_counted_from_no_time_of_the_nodes_choice(liar: Liar) -> None:
    """A clock far ahead would keep a request open, and a stake locked, for years; one behind is corrected by this machine's."""
    node = _payer(liar).node
    here = int(time.time())
    assert here <= chain.now(node) <= here + 5
    liar.lies["eth_getBlockByNumber"] = _of_block("timestamp", hex(here + 3600))
    assert chain.now(node) == here + 3600
    liar.lies["eth_getBlockByNumber"] = _of_block("timestamp", hex(here - 10**6))
    assert here <= chain.now(node) <= here + 5
    for later in (here + 2 * 86_400, 2**63, 2**64, -1):
        liar.lies["eth_getBlockByNumber"] = _of_block("timestamp", hex(later))
        with pytest.raises(CouldNotCheck) as caught:
            chain.now(node)
        assert caught.value.code == "chain-refused"


def test_what_is_no_block_is_refused(liar: Liar) -> None:
    """Neither fees nor a time are taken from it."""
    payer = _payer(liar)
    for block in (None, "x", 7, True, [], ["timestamp"], [["timestamp", 1]], {"timestamp": None}):
        liar.lies["eth_getBlockByNumber"] = always(block)
        with pytest.raises(CouldNotCheck) as caught:
            chain.now(payer.node)
        assert caught.value.code == "chain-refused", block
        if not isinstance(block, dict):
            with pytest.raises(CouldNotCheck):
                chain.send(payer, None, MAKES_CODE)
    assert liar.signed == []


CONSUMER = "0x" + "C0" * 20
REQUESTED = chain._REQUESTED  # noqa: SLF001 - the event's topic, which no other module needs
EVENT = (REQUESTED, (7).to_bytes(32, "big"), bytes(32))


@pytest.mark.parametrize(
    "logs",
    [
        (),
        (("0x" + "99" * 20, EVENT),),
        ((CONSUMER, EVENT[:1]),),
        ((CONSUMER, (bytes(32), *EVENT[1:])),),
        ((CONSUMER, (REQUESTED, bytes(32))),),
        ((CONSUMER, (REQUESTED, (2**53).to_bytes(32, "big"))),),
        ((CONSUMER, (REQUESTED, b"\xff" * 32)),),
    ],
)
def test_a_request_without_a_number_is_said(logs: tuple[tuple[str, tuple[bytes, ...]], ...]) -> None:
    """No event, another contract's, another event, or a number that no consumer reaches; the transaction is named."""
    sent = chain.Sent("0x" + "ab" * 32, 1, None, ((CONSUMER, EVENT),))
    assert chain.requested(sent, CONSUMER.lower()) == 7
    with pytest.raises(CouldNotCheck, match="abab") as caught:
        chain.requested(replace(sent, logs=logs), CONSUMER)
    assert caught.value.code == "chain-refused"
