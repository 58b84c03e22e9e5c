"""``verinfer contract``: build or fetch a circuit's verifier contract, deploy it, and settle requests with receipts."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from .. import files
from ..bundle import read_files
from ..errors import CouldNotCheck, Rejected, UsageError
from ..evm import calldata, chain
from ..evm.calldata import Layout, OnChainProof, proof_of
from ..evm.costs import read_rates
from ..evm.deployment import (
    Deployment,
    find_consumer,
    find_registry,
    find_verifier,
    read_deployment,
    write_deployment,
)
from ..evm.descriptor import CONSUMER, ContractFolder, open_contract
from ..evm.fees import MOST_GAS, MOST_GWEI, read_most
from ..evm.harden import Form
from ..evm.make import make_contract
from ..evm.opened import OpenedRequest, read_request
from ..evm.report import answer_text, as_json, as_text
from ..evm.request import Request, input_hash, quantised
from ..evm.words import signed
from ..receipt import RECEIPT_LIMIT, parse_receipt
from ..samples import read_sample
from ..terminal import say
from ..wire import format_time, validate
from .contract_fetch import fetch

Folder = click.Path(path_type=Path, exists=True, file_okay=False)
File = click.Path(path_type=Path, exists=True, dir_okay=False)

_json = click.option("--json", "as_json_", is_flag=True, help="The result as JSON.")
_node = (
    click.option("--rpc-url", required=True, help="A node's JSON-RPC, such as http://127.0.0.1:8545."),
    click.option("--chain-id", type=click.IntRange(min=1), help="Only on this chain; default: the node's."),
)
_contract = click.option(
    "--contract",
    "folder",
    type=Folder,
    default=Path("contract"),
    show_default=True,
    help="What 'contract build' made.",
)
_payer = (
    click.option("--keystore", type=File, help=f"A keystore file; default: the key in {chain.KEY_VARIABLE}."),
    click.option(
        "--most-gwei",
        type=float,
        default=MOST_GWEI,
        show_default=True,
        help="Sign nothing that may cost more Gwei for a gas, tip and all, whatever the node asks.",
    ),
    click.option(
        "--most-gas",
        type=click.IntRange(min=1),
        default=MOST_GAS,
        show_default=True,
        help="Sign nothing that may use more gas.",
    ),
)
_consumer = click.option(
    "--consumer", help="The consumer's address; default: the one deployed from the folder."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paying:
    """What the options of a command that sends say."""

    rpc_url: str
    chain_id: int | None
    keystore: Path | None
    most_gwei: float
    most_gas: int

    def connect(self) -> chain.Payer:
        most = read_most(self.most_gwei, self.most_gas)
        return chain.Payer(
            chain.connect(self.rpc_url, self.chain_id), chain.read_account(self.keystore), most
        )


def _asks(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of a node that is asked."""
    for option in reversed(_node):
        function = option(function)
    return function


def _pays(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of a payer, which it gets together, as `paying`."""

    @functools.wraps(function)
    def gathered(**options: Any) -> None:
        own = {field.name: options.pop(field.name) for field in fields(_Paying)}
        function(paying=_Paying(**own), **options)

    paid: Callable[..., None] = gathered
    for option in reversed(_payer):
        paid = option(paid)
    return _asks(paid)


@click.group("contract")
def command() -> None:
    """Check answers in a contract: build, deploy, request, settle."""


@command.command("build")
@click.argument("package", type=Folder)
@click.option("--out", type=click.Path(path_type=Path), default=Path("contract"), show_default=True)
@click.option(
    "--form",
    type=click.Choice(["single", "reusable"]),
    help="Default: a single contract for the circuit where it fits a chain, else the one for all circuits.",
)
@click.option(
    "--allow-insecure-srs", is_flag=True, help="Build it although whoever made the SRS can forge proofs."
)
@click.option("--gas-price", type=click.FloatRange(min=0), help="Gwei per gas, for the table in USD.")
@click.option("--token-price", type=click.FloatRange(min=0), help="USD per token, for the table in USD.")
@_json
def build(
    package: Path,
    out: Path,
    form: Form | None,
    gas_price: float | None,
    token_price: float | None,
    *,
    allow_insecure_srs: bool,
    as_json_: bool,
) -> None:
    """Build the verifier contract of PACKAGE (a circuit package, or a verify bundle), hardened, and say what it costs.

    The same package gives the same code on every machine: compare the code hash with whoever deployed one.
    """
    rates = read_rates(gas_price, token_price)
    if out.exists():
        raise UsageError("exists", f"{out} exists; remove it, or give another --out.")
    content = read_files(package / "verify" if (package / "verify").is_dir() else package)
    made = make_contract(
        content, out, form=form, allow_insecure_srs=allow_insecure_srs, on_step=_steps(quiet=as_json_)
    )
    _show(as_json(made, out, rates), as_text(made, out, rates), as_json=as_json_)


@command.command("deploy")
@click.argument("folder", type=Folder, default=Path("contract"))
@_pays
@click.option("--verifier", help="Use the verifier at this address, if its code is the built one's.")
@click.option("--consumer", is_flag=True, help="Deploy a consumer of it, too.")
@click.option("--registry", help="A ModelRegistry that the consumer follows.")
@_json
def deploy(
    folder: Path,
    paying: _Paying,
    verifier: str | None,
    registry: str | None,
    *,
    consumer: bool,
    as_json_: bool,
) -> None:
    """Deploy the verifier in FOLDER, which 'contract build' made, and a consumer of it.

    With a new reusable verifier the circuit is registered, too; one that is there may serve many: --verifier, then 'register'.
    """
    contract, payer = open_contract(folder), paying.connect()
    node = payer.node
    follows = find_registry(contract, node, registry) if registry else None
    result: dict[str, Any] = {"chain_id": node.chain_id}
    fresh = verifier is None
    if fresh:
        sent = chain.send(payer, None, contract.creation("Verifier"))
        verifier = sent.address
        result["gas"] = sent.gas
    where = find_verifier(contract, node, verifier)
    # Whatever fails from here on, it was paid for.
    _remember(contract, node.chain_id, where, None)
    result["verifier"] = where
    if fresh and contract.vka:
        result["register_gas"] = chain.send(payer, where, calldata.register(contract.vka)).gas
    if consumer:
        descriptor = contract.descriptor
        digest = bytes.fromhex(descriptor.vka_digest) if descriptor.vka_digest else None
        model = calldata.constructor(
            where, bytes.fromhex(descriptor.code_hash), digest, Layout.of(contract.manifest), follows
        )
        sent = chain.send(payer, None, contract.creation(CONSUMER) + model)
        consumes = find_consumer(contract, node, sent.address)
        _remember(contract, node.chain_id, where, consumes)
        result |= {"consumer": consumes, "consumer_gas": sent.gas}
    text = "\n".join(f"{name:<14} {value}" for name, value in result.items())
    if contract.vka and not fresh:
        text += "\nunless this circuit is registered there: verinfer contract register"
    _show(result, f"DEPLOYED\n{text}", as_json=as_json_)


@command.command("register")
@click.argument("folder", type=Folder, default=Path("contract"))
@_pays
@click.option(
    "--verifier", help="The reusable verifier's address; default: the one deployed from the folder."
)
@_json
def register(folder: Path, paying: _Paying, verifier: str | None, *, as_json_: bool) -> None:
    """Register the circuit's VKA with the reusable verifier; with a single verifier there is nothing to do."""
    contract = open_contract(folder)
    if contract.descriptor.form == "single":
        raise UsageError("usage", "A single verifier holds its circuit's key; there is nothing to register.")
    payer = paying.connect()
    where = find_verifier(contract, payer.node, verifier)
    sent = chain.send(payer, where, calldata.register(contract.vka))
    result = {"verifier": where, "vka_digest": contract.descriptor.vka_digest, "gas": sent.gas}
    _show(result, f"REGISTERED  {result['vka_digest']} with {where}, {sent.gas:,} gas", as_json=as_json_)


@command.command("verify")
@click.argument("receipt", type=File)
@_contract
@_asks
@click.option("--verifier", help="The verifier's address; default: the one deployed from the folder.")
@_json
def verify(
    receipt: Path, folder: Path, rpc_url: str, chain_id: int | None, verifier: str | None, *, as_json_: bool
) -> None:
    """Ask the verifier on chain about RECEIPT's proof; nothing is sent, and no policy is looked at."""
    contract, node = open_contract(folder), chain.connect(rpc_url, chain_id)
    given = _proof(receipt, contract)
    where = find_verifier(contract, node, verifier)
    data = calldata.verify(given, contract.vka)
    output = chain.call(node, where, data)
    digest = output[32:64].hex() if contract.vka else None
    if int.from_bytes(output[:32], "big") != 1 or digest != contract.descriptor.vka_digest:
        raise Rejected("chain-reverted", "The verifier does not accept the proof.")
    gas = chain.estimate(node, where, data)
    result = {"verifier": where, "statement_digest": given.statement, "gas": gas}
    text = f"ACCEPTED  by the verifier at {where}: the proof is of this statement and circuit; {gas:,} gas in a transaction"
    _show(result, text, as_json=as_json_)


@command.command("request")
@click.argument("sample", type=File)
@_contract
@_pays
@_consumer
@click.option(
    "--seconds",
    type=click.IntRange(min=1, max=10 * 365 * 86400),
    default=3600,
    show_default=True,
    help="How long the request can be settled.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("request.json"), show_default=True
)
@_json
def request(
    sample: Path,
    folder: Path,
    paying: _Paying,
    consumer: str | None,
    seconds: int,
    out: Path,
    *,
    as_json_: bool,
) -> None:
    """Open a request for the model's answer on SAMPLE, and write what 'infer' and 'settle' need to know of it."""
    if out.exists():
        raise UsageError(
            "exists", f"{out} is of an earlier request, which may be open; choose another --out."
        )
    contract, payer = open_contract(folder), paying.connect()
    node = payer.node
    values = quantised(contract.manifest, read_sample(sample, contract.manifest.inputs))
    hashed = input_hash(contract.manifest, values)
    where = find_consumer(contract, node, consumer)
    deadline = chain.now(node) + seconds
    data = calldata.request(bytes.fromhex(hashed), deadline)
    sent = chain.send(payer, where, data)
    number = chain.requested(sent, where)
    opened = Request(
        chain_id=node.chain_id,
        consumer=where,
        requester=payer.account.address,
        request_id=number,
        deadline=deadline,
        model_pin=contract.descriptor.model_pin,
        input_hash=hashed,
    )
    if chain.call(node, where, calldata.nonce_of(number)).hex() != opened.nonce:
        raise Rejected("code-mismatch", "The consumer gives the request another nonce than its rules say.")
    body = {
        "type": "urn:verinfer:request:v1",
        **{name: getattr(opened, name) for name in OpenedRequest.model_fields if name != "type"},
    }
    made = validate(OpenedRequest, body, code="contract-malformed")
    files.write_atomically(out, made.canonical() + b"\n")
    until = format_time(datetime.fromtimestamp(deadline, UTC))
    text = (
        f"REQUESTED  {number} at {where}, {sent.gas:,} gas\n"
        f"  until      {until}\n  nonce      {opened.nonce}\n  kept as    {out}"
    )
    _show({**made.to_json(), "gas": sent.gas, "file": str(out)}, text, as_json=as_json_)


@command.command("settle")
@click.argument("receipt", type=File)
@click.option("--request", "request_", type=File, default=Path("request.json"), show_default=True)
@_contract
@_pays
@_json
def settle(receipt: Path, request_: Path, folder: Path, paying: _Paying, *, as_json_: bool) -> None:
    """Settle a request with RECEIPT's proof: simulated first, built from the receipt and the manifest alone."""
    contract, payer = open_contract(folder), paying.connect()
    given, opened = _proof(receipt, contract), read_request(request_)
    where = _consumer_of(contract, payer.node, opened)
    number, layout = opened.request_id, Layout.of(contract.manifest)
    answer = signed(given.instances[-layout.outputs :])
    sent = chain.send(payer, where, calldata.settle(number, given, contract.vka))
    if chain.call(payer.node, where, calldata.answer_of(number)) != calldata.answered(answer):
        raise CouldNotCheck(
            "chain-refused",
            f"The node says that {sent.transaction} settled the request, and gives another answer than the receipt's.",
        )
    result = {
        "request_id": number,
        "consumer": where,
        "transaction": sent.transaction,
        "gas": sent.gas,
        "answer": list(answer),
        "output_scale": layout.output_scale,
    }
    text = f"SETTLED  {number}: {answer_text(contract.manifest, answer)}; {sent.gas:,} gas"
    _show(result, text, as_json=as_json_)


@command.command("expire")
@click.option("--request", "request_", type=File, default=Path("request.json"), show_default=True)
@_contract
@_pays
@_json
def expire(request_: Path, folder: Path, paying: _Paying, *, as_json_: bool) -> None:
    """Close a request that was not settled before its deadline."""
    contract, payer = open_contract(folder), paying.connect()
    opened = read_request(request_)
    where = _consumer_of(contract, payer.node, opened)
    sent = chain.send(payer, where, calldata.expire(opened.request_id))
    result = {"request_id": opened.request_id, "consumer": where, "gas": sent.gas}
    _show(result, f"EXPIRED  {opened.request_id}; {sent.gas:,} gas", as_json=as_json_)


command.add_command(fetch)


def _proof(receipt: Path, contract: ContractFolder) -> OnChainProof:
    return proof_of(parse_receipt(files.read(receipt, limit=RECEIPT_LIMIT)), contract.manifest)


def _consumer_of(contract: ContractFolder, node: chain.Node, opened: OpenedRequest) -> str:
    if opened.chain_id != node.chain_id:
        raise UsageError("usage", f"The request is on chain {opened.chain_id}, the node on {node.chain_id}.")
    return find_consumer(contract, node, opened.consumer)


def _remember(contract: ContractFolder, chain_id: int, verifier: str, consumer: str | None) -> None:
    earlier = read_deployment(contract, chain_id)
    if consumer is None and earlier is not None and earlier.verifier == verifier:
        # A consumer of it is still there.
        consumer = earlier.consumer
    found = {"verifier": verifier} if consumer is None else {"verifier": verifier, "consumer": consumer}
    body = {"type": "urn:verinfer:deployment:v1", "chain_id": chain_id, **found}
    write_deployment(contract, validate(Deployment, body, code="contract-malformed"))


def _steps(*, quiet: bool) -> Callable[[str], None]:
    """Says what is being done, on standard error: each step takes a second or several."""

    def step(name: str) -> None:
        if not quiet:
            click.echo(f"  {name}", err=True)
            sys.stderr.flush()

    return step


def _show(result: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result))
    else:
        say(text)
