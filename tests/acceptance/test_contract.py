"""Requests on a real chain, answered over HTTP and settled by anybody: the commands of `verinfer contract` with a real node."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account

from verinfer.circuits.on_chain import read_contract
from verinfer.circuits.package import Package
from verinfer.verifier.errors import UsageError
from verinfer.verifier.evm import calldata, chain
from verinfer.verifier.evm.calldata import Layout, proof_of
from verinfer.verifier.evm.deployment import find_verifier
from verinfer.verifier.evm.descriptor import CONSUMER, REGISTRY, open_contract
from verinfer.verifier.evm.fees import MOST_GAS, MOST_GWEI, read_most
from verinfer.verifier.evm.price import OSAKA_MORE
from verinfer.verifier.evm.words import keccak256, selector
from verinfer.verifier.receipt import parse_receipt

from ..command import verinfer
from ..lying import lying
from ..node import KEY, free_port, running
from .conftest import Server

pytestmark = pytest.mark.usefixtures("compiled_once")

SAMPLE = Path(__file__).parents[2] / "models" / "zoo" / "bmi" / "sample.json"


@dataclass(frozen=True)
class World:
    """A client's folder with a policy, a service and a node."""

    home: Path
    url: str
    rpc: str

    def contract(self, command: str, *arguments: object, expect: int = 0, key: str = KEY) -> dict[str, Any]:
        """What `verinfer contract COMMAND` says in JSON."""
        return self.run("contract", command, *arguments, "--rpc-url", self.rpc, expect=expect, key=key)

    def run(self, *arguments: object, expect: int = 0, key: str = KEY) -> dict[str, Any]:
        """What a command says in JSON; its exit code must be `expect`."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(chain.KEY_VARIABLE, key)
            done = verinfer(*arguments, "--json", home=self.home)
        assert KEY not in done.stdout + done.stderr
        assert done.returncode == expect, (arguments, done.stdout, done.stderr)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def ask(self, sample: Path, receipt: str, request: str) -> dict[str, Any]:
        """The service's verified answer for a request."""
        return self.run(
            "infer",
            sample,
            "--policy",
            "policy.json",
            "--url",
            self.url,
            "--request",
            request,
            "--out",
            receipt,
        )

    def pass_time(self, seconds: int) -> None:
        """The chain's next block is so much later."""
        for method, parameters in (("evm_increaseTime", [seconds]), ("evm_mine", [])):
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
            assert "error" not in httpx.post(self.rpc, json=body).json()


@pytest.fixture(scope="module")
def world(bmi_package: Package, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything running; the contract is the reusable one."""
    home = tmp_path_factory.mktemp("contract")
    package = home / "package"
    shutil.copytree(bmi_package.folder, package)
    server = Server(package=package, data=home / "data", log=home / "log")
    server.start()
    try:
        with running(free_port()) as rpc:
            made = World(home, str(server.http.base_url), rpc)
            pins = ("--issuer", "data/service.pub.pem", "--out", "policy.json", "--allow-insecure-srs")
            assert verinfer("policy", "init", "package", *pins, home=home).returncode == 0
            made.run("contract", "build", "package", "--form", "reusable", "--allow-insecure-srs")
            made.contract("deploy", "contract", "--consumer")
            yield made
    finally:
        server.http.close()
        server.stop()


def test_a_request_is_settled_once(world: World) -> None:
    """Request, inference with its nonce, settlement: the answer on chain is the one that the client verified.

    Not twice, and not by another request's receipt; each refusal says why.
    """
    request = world.contract("request", SAMPLE, "--out", "one.json")
    other = world.contract("request", SAMPLE, "--out", "two.json")
    assert (request["request_id"], other["request_id"]) == (1, 2)
    # What an open request needs is not overwritten by the next one, for which nothing is sent then.
    assert world.contract("request", SAMPLE, "--out", "one.json", expect=2)["code"] == "exists"
    assert request["nonce"] != other["nonce"]
    verdict = world.ask(SAMPLE, "one.receipt", "one.json")
    assert verdict["nonce"] == request["nonce"]
    settle = ("settle", "one.receipt", "--request", "one.json")
    assert world.contract("verify", "one.receipt")["statement_digest"] == verdict["statement_digest"]
    mixed = world.contract("settle", "one.receipt", "--request", "two.json", expect=1)
    assert mixed["field"] == "OtherChallenge"
    settled = world.contract(*settle)
    manifest = json.loads((world.home / "contract" / "manifest.json").read_bytes())
    spec = manifest["outputs"][0]["postprocessing"][0]
    read = [
        value / 2 ** settled["output_scale"] * float(multiply) + float(add)
        for value, multiply, add in zip(settled["answer"], spec["multiply"], spec["add"], strict=True)
    ]
    assert read == pytest.approx(verdict["outputs"][0]["values"])
    assert world.contract(*settle, expect=1)["field"] == "AlreadySettled"
    price = json.loads((world.home / "contract" / "contract.json").read_bytes())["price"]
    assert settled["gas"] == pytest.approx(price["settle"], rel=0.02)


def test_an_answer_on_another_input_settles_nothing(world: World) -> None:
    """A stranger's question with the request's public nonce has a valid receipt, which is of no use."""
    world.contract("request", SAMPLE, "--out", "three.json")
    other = world.home / "other.json"
    other.write_text(json.dumps([1.0, 2.0, 3.0]))
    world.ask(other, "three.receipt", "three.json")
    refused = world.contract("settle", "three.receipt", "--request", "three.json", expect=1)
    assert refused["field"] == "OtherInput"
    assert world.contract("expire", "--request", "three.json", expect=1)["field"] == "DeadlineNotPassed"


def test_a_late_answer_settles_nothing(world: World) -> None:
    """After the deadline a request only expires, once."""
    world.contract("request", SAMPLE, "--out", "late.json", "--seconds", "60")
    world.ask(SAMPLE, "late.receipt", "late.json")
    world.pass_time(3600)
    refused = world.contract("settle", "late.receipt", "--request", "late.json", expect=1)
    assert refused["field"] == "DeadlinePassed"
    world.contract("expire", "--request", "late.json")
    assert world.contract("expire", "--request", "late.json", expect=1)["field"] == "AlreadyExpired"


def test_osaka_costs_what_the_table_says(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A node by Osaka's rules uses the gas of the table: what a proof costs on Prague's, and the dearer exponentiations."""
    monkeypatch.setenv(chain.KEY_VARIABLE, KEY)
    world.run("infer", SAMPLE, "--policy", "policy.json", "--url", world.url, "--out", "osaka.receipt")
    # Another chain of the same number, on which nothing is deployed yet.
    folder = tmp_path / "osaka"
    shutil.copytree(world.home / "contract", folder, ignore=shutil.ignore_patterns("deployments"))
    receipt = parse_receipt((world.home / "osaka.receipt").read_bytes())

    def verify(rpc: str, where: Path) -> int:
        contract, node = open_contract(where), chain.connect(rpc)
        data = calldata.verify(proof_of(receipt, contract.manifest), contract.vka)
        payer = chain.Payer(node, chain.read_account(None), read_most(MOST_GWEI, MOST_GAS))
        return chain.send(payer, find_verifier(contract, node, None), data).gas

    with running(free_port(), "osaka") as rpc:
        world.run("contract", "deploy", folder, "--rpc-url", rpc)
        osaka = verify(rpc, folder)
    assert osaka - verify(world.rpc, world.home / "contract") == OSAKA_MORE
    assert osaka == pytest.approx(open_contract(folder).descriptor.price.verify_osaka, rel=0.01)


def test_a_card_says_what_the_contract_costs(world: World) -> None:
    """Sizes, gas, and USD at rates that are named; a contract of another circuit is not taken for this one's."""
    price = json.loads((world.home / "contract" / "contract.json").read_bytes())["price"]
    rates = ("--gas-price", 2, "--token-price", 1000)
    arguments = ("card", "package", "--contract", "contract", *rates)
    found = verinfer(*arguments, "--json", home=world.home).stdout
    said = verinfer(*arguments, home=world.home).stdout
    assert json.loads(found)["contract"]["price"] == price
    assert f"| verify, Prague | {price['verify']:,} gas, {price['verify'] * 2e-6:,.2f} USD |" in said
    assert world.run("card", "package", *rates, expect=2)["code"] == "usage"
    with pytest.raises(UsageError, match="another circuit"):
        read_contract(world.home / "contract", "00" * 32)


def test_a_circuit_joins_a_verifier_that_is_there(world: World) -> None:
    """The one reusable verifier is used again, by a consumer of its own; a proof is accepted once the circuit is registered."""
    first = json.loads((world.home / "contract" / "deployments" / "31337.json").read_bytes())
    shutil.copytree(world.home / "contract", world.home / "again")
    shared = world.contract("deploy", "again", "--verifier", first["verifier"], "--consumer")
    assert shared["verifier"] == first["verifier"]
    assert shared["consumer"] != first["consumer"]
    assert "gas" not in shared
    world.contract("register", "again")
    # Deployed again without a consumer: the one that is there is remembered.
    world.contract("deploy", "again", "--verifier", first["verifier"])
    world.contract("request", SAMPLE, "--contract", "again", "--out", "again.json")
    world.ask(SAMPLE, "again.receipt", "again.json")
    world.contract("settle", "again.receipt", "--request", "again.json", "--contract", "again")


def test_a_node_that_names_another_answer_is_not_believed(world: World) -> None:
    """What is shown as settled is the receipt's answer, and only if the contract has it too."""
    world.contract("request", SAMPLE, "--out", "lied.json")
    world.ask(SAMPLE, "lied.receipt", "lied.json")
    settle = ("contract", "settle", "lied.receipt", "--request", "lied.json", "--rpc-url")
    asks = "0x" + selector(calldata.ANSWER_OF).hex()

    def other(asked: dict[str, Any], true: Any) -> Any:
        changed = true[:-1] + ("e" if true[-1] == "f" else "f")
        return changed if asked["params"][0]["data"].startswith(asks) else true

    with lying(world.rpc) as liar:
        liar.lies["eth_call"] = other
        refused = world.run(*settle, liar.url, expect=4)
    assert refused["code"] == "chain-refused"
    assert "another answer than the receipt's" in refused["message"]


def _consumer(world: World, **changes: Any) -> str:
    """A consumer of our own code, deployed with something else than the built one."""
    contract = open_contract(world.home / "contract")
    node = chain.connect(world.rpc)
    payer = chain.Payer(node, Account.from_key(KEY), read_most(MOST_GWEI, MOST_GAS))
    descriptor, layout = contract.descriptor, Layout.of(contract.manifest)
    assert descriptor.vka_digest is not None
    verifier, code_hash = find_verifier(contract, node, None), bytes.fromhex(descriptor.code_hash)
    if (runtime := changes.get("verifier")) is not None:
        creation = b"\x60" + len(runtime).to_bytes(1, "big") + bytes.fromhex("80600a5f395ff3fe") + runtime
        made = chain.send(payer, None, creation).address
        assert made is not None
        assert chain.code_at(node, made) == runtime
        verifier, code_hash = made, keccak256(runtime)
    digest = changes.get("digest", bytes.fromhex(descriptor.vka_digest))
    data = calldata.constructor(
        verifier, code_hash, digest, replace(layout, **changes.get("layout", {})), None
    )
    address = chain.send(payer, None, contract.creation(CONSUMER) + data).address
    assert address is not None
    return address


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("codeHash", {"verifier": bytes.fromhex("5f5ff3")}),
        ("modelPin", {"digest": keccak256(b"another circuit")}),
        ("modelPin", {"digest": None}),
        ("inputs", {"layout": {"inputs": 1, "outputs": 4}}),
        ("outputs", {"layout": {"outputs": 1}}),
        ("proofBytes", {"layout": {"proof_bytes": 32}}),
        ("outputScale", {"layout": {"output_scale": 1}}),
    ],
    ids=["verifier", "circuit", "single", "inputs", "outputs", "proof", "scale"],
)
def test_a_consumer_of_our_code_is_not_yet_ours(world: World, field: str, changes: dict[str, Any]) -> None:
    """Its deployer may have given it a verifier that says yes to everything, or a layout in which answers are chosen freely."""
    refused = world.contract("request", SAMPLE, "--consumer", _consumer(world, **changes), expect=1)
    assert (refused["code"], refused["field"]) == ("code-mismatch", field)
    assert not (world.home / "request.json").exists()


def test_a_consumer_follows_a_registry_that_is_there(world: World) -> None:
    """Before anything is paid the registry is asked; until its owner publishes the model no request is opened."""
    shutil.copytree(world.home / "contract", world.home / "following")
    verifier = json.loads((world.home / "contract" / "deployments" / "31337.json").read_bytes())["verifier"]
    deploy = ("deploy", "following", "--consumer", "--verifier", verifier, "--registry")
    contract = open_contract(world.home / "following")
    payer = chain.Payer(chain.connect(world.rpc), Account.from_key(KEY), read_most(MOST_GWEI, MOST_GAS))
    assert world.contract(*deploy, "0x" + "99" * 20, expect=1)["code"] == "code-mismatch"
    assert world.contract(*deploy, verifier, expect=1)["code"] == "chain-reverted"
    registry = chain.send(payer, None, contract.creation(REGISTRY)).address
    world.contract(*deploy, registry)
    request = ("request", SAMPLE, "--contract", "following", "--out", "following.json")
    assert world.contract(*request, expect=1)["field"] == "ModelNotActive"


def test_what_was_paid_for_is_remembered(world: World) -> None:
    """A verifier that was deployed is kept where its registration is not sent, so that nobody deploys it twice."""
    folder = world.home / "halfway"
    shutil.copytree(world.home / "contract", folder, ignore=shutil.ignore_patterns("deployments"))
    registers = "0x" + selector(calldata.REGISTER).hex()

    def much(asked: dict[str, Any], true: Any) -> Any:
        return hex(2**40) if asked["params"][0]["data"].startswith(registers) else true

    with lying(world.rpc) as liar:
        liar.lies["eth_estimateGas"] = much
        refused = world.run("contract", "deploy", "halfway", "--rpc-url", liar.url, expect=1)
    assert (refused["code"], refused["field"], len(liar.signed)) == ("fee-too-high", "gas", 1)
    deployed = json.loads((folder / "deployments" / "31337.json").read_bytes())["verifier"]
    assert world.contract("register", "halfway")["verifier"] == deployed


def test_nothing_is_paid_beyond_what_was_allowed(world: World) -> None:
    """Not more for a gas, not more gas, and not on another chain; a limit that is none is refused."""
    for limit, field in ((("--most-gwei", "0"), "gwei"), (("--most-gas", "21000"), "gas")):
        refused = world.contract("register", *limit, expect=1)
        assert (refused["code"], refused["field"]) == ("fee-too-high", field)
    for limit in (("--most-gwei", "nan"), ("--chain-id", "1")):
        assert world.contract("register", *limit, expect=2)["code"] == "usage"
    world.contract("register", "--chain-id", "31337", "--most-gas", "1000000", "--most-gwei", "3.5")


def test_what_is_missing_is_named(world: World) -> None:
    """No key, a key that is none, no node, a contract of somebody else's: a stable code, and the key is never shown."""
    for key in ("", "not a key", KEY[:-1]):
        assert world.contract("register", expect=2, key=key)["code"] == "account-missing"
    nowhere = ("contract", "verify", SAMPLE, "--rpc-url", "http://127.0.0.1:9")
    assert world.run(*nowhere, expect=4)["code"] == "chain-unreachable"
    assert world.run("contract", "register", "--rpc-url", "ftp://x", expect=2)["code"] == "usage"
    strange = ("--verifier", "0x" + "99" * 20)
    assert world.contract("register", *strange, expect=1)["code"] == "code-mismatch"
    assert world.contract("register", "--verifier", "0x1", expect=2)["code"] == "usage"
    consumer = ("--consumer", "0x" + "99" * 20)
    assert world.contract("request", SAMPLE, *consumer, expect=1)["code"] == "code-mismatch"


def test_a_changed_folder_reaches_no_chain(world: World) -> None:
    """Bytecode that is not what was built is refused before anything is sent."""
    folder = world.home / "torn"
    shutil.copytree(world.home / "contract", folder)
    code = folder / "Verifier.bin"
    code.write_bytes(code.read_bytes()[:-2] + b"00")
    assert world.contract("deploy", "torn", expect=4)["code"] == "artifact-torn"
    descriptor = folder / "contract.json"
    descriptor.write_bytes(descriptor.read_bytes().replace(b'"Verifier.bin"', b'"../../../x.bin"'))
    assert world.contract("deploy", "torn", expect=3)["code"] == "contract-malformed"


def _swapped(folder: Path, name: str, data: bytes) -> None:
    """Put another file in a built one's place, with its digest in the description."""
    old = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / name).write_bytes(data)
    descriptor = folder / "contract.json"
    new = hashlib.sha256(data).hexdigest()
    descriptor.write_bytes(descriptor.read_bytes().replace(old.encode(), new.encode()))


FOREIGN: dict[str, tuple[str, bytes]] = {
    "other code": ("Verifier.runtime.bin", b"00"),
    "no code": ("Verifier.runtime.bin", b"no hex"),
    "another circuit's words": ("vka.json", json.dumps(["00" * 32]).encode()),
    "no words": ("vka.json", b'{"a":1}'),
    "short words": ("vka.json", b'["00"]'),
    "deep words": ("vka.json", b"[" * 100_000),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_folder_of_somebody_elses_is_no_traceback(world: World, case: str, tmp_path: Path) -> None:
    """Whose digests fit each other, but not what they are said to be of: refused before a node is asked."""
    folder = tmp_path / "foreign"
    shutil.copytree(world.home / "contract", folder)
    _swapped(folder, *FOREIGN[case])
    refused = world.contract("deploy", folder, expect=3)["code"]
    assert refused in ("contract-malformed", "json-invalid")


@pytest.mark.parametrize("name", ["manifest.json", "Verifier.runtime.bin", "vka.json", "Verifier.bin"])
def test_a_folder_lists_what_it_needs(world: World, name: str, tmp_path: Path) -> None:
    """A description that leaves a file out is malformed, whichever it is."""
    folder = tmp_path / "short"
    shutil.copytree(world.home / "contract", folder)
    descriptor = folder / "contract.json"
    body = json.loads(descriptor.read_bytes())
    del body["files"][name]
    descriptor.write_text(json.dumps(body))
    assert world.contract("deploy", folder, expect=3)["code"] == "contract-malformed"


def test_a_reusable_verifier_that_is_not_ours_is_refused(world: World, tmp_path: Path) -> None:
    """One that is not hardened has other code, and nobody gets it deployed with a folder that fits it."""
    folder = tmp_path / "unhardened"
    shutil.copytree(world.home / "contract", folder)
    descriptor = folder / "contract.json"
    before = json.loads(descriptor.read_bytes())["code_hash"]
    _swapped(folder, "Verifier.runtime.bin", b"00")
    descriptor.write_bytes(
        descriptor.read_bytes().replace(before.encode(), keccak256(b"\x00").hex().encode())
    )
    assert world.contract("deploy", folder, expect=1)["code"] == "code-mismatch"


def test_a_contract_is_not_built_by_accident(world: World, hashed_package: Package) -> None:
    """An insecure SRS and hidden inputs are named first; what is there is not overwritten; USD need both rates."""
    hidden = ("contract", "build", hashed_package.folder, "--out", "x", "--allow-insecure-srs")
    assert world.run(*hidden, expect=2)["code"] == "inputs-hidden"
    assert world.run("contract", "build", "package", "--out", "x", expect=1)["code"] == "insecure-srs"
    assert world.run("contract", "build", "package", expect=2)["code"] == "exists"
    assert (
        world.run("contract", "build", "package", "--out", "x", "--gas-price", 1, expect=2)["code"] == "usage"
    )
    assert not (world.home / "x").exists()
