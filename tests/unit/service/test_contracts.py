"""``/v1/models/{name}/contract``: built once, served as it was built, and believed by nobody."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from verinfer.circuits.package import Package
from verinfer.service.contracts import _read
from verinfer.service.parts import open_resources
from verinfer.service.settings import Settings
from verinfer.verifier.bundle import read_files
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import VerinferError
from verinfer.verifier.evm.build import REUSABLE_CODE_HASH
from verinfer.verifier.evm.descriptor import Descriptor, open_contract
from verinfer.verifier.evm.fetch import fetch_contract
from verinfer.verifier.evm.words import keccak256

from .conftest import Serve

pytestmark = pytest.mark.usefixtures("compiled_once")

PATH = "/v1/models/bmi/contract"
REUSABLE = "?form=reusable"
Content = dict[str, bytes]


def _wait(client: httpx.Client, path: str) -> httpx.Response:
    """The answer once nothing is being built any more."""
    for _ in range(120):
        answer = client.get(path)
        if answer.status_code != 503:
            return answer
        assert answer.json()["code"] == "contract-building"
        time.sleep(0.5)
    raise AssertionError("the contract was not built in a minute")


@pytest.fixture(scope="module")
def settings(bmi_package: Package, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A service with one circuit, and a data folder that outlives a server."""
    return Settings(packages=(bmi_package.folder,), data=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def built(settings: Settings, serve: Serve) -> Content:
    """The reusable contract as the service gives it, file by file."""
    with open_resources(settings) as resources, serve(resources) as client:
        assert "On chain" not in client.get("/v1/models/bmi/card.html").text
        first = _wait(client, PATH + REUSABLE)
        assert first.status_code == 200, first.text
        names = first.json()["files"]
        content = {name: client.get(f"{PATH}/{name}{REUSABLE}").content for name in names}
        assert client.get(f"{PATH}/service.pem{REUSABLE}").json()["code"] == "file-unknown"
        assert client.get(f"{PATH}/%2e%2e/contract.json{REUSABLE}").status_code == 404
        assert client.get(f"{PATH}?form=other").json()["code"] == "request-malformed"
        assert "On chain" in client.get("/v1/models/bmi/card.html").text
        gas = first.json()["price"]["verify"]
        assert client.get("/v1/models/bmi/card").json()["contract"]["price"]["verify"] == gas
    return {"contract.json": first.content, **content}


def _service(content: Content) -> httpx.Client:
    """A service that gives these files, whatever they are."""

    def answer(request: httpx.Request) -> httpx.Response:
        name = request.url.path.partition("/contract")[2].removeprefix("/") or "contract.json"
        if name in content:
            return httpx.Response(200, stream=httpx.ByteStream(content[name]))
        return httpx.Response(404, json={"code": "file-unknown"})

    return httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))


def _fetch(content: Content, package: Package, out: Path, **given: Any) -> Descriptor:
    bundle = package.bundle
    manifest = read_files(package.path("verify"))["manifest.json"]
    chosen: dict[str, Any] = {"code_hash": None, "allow_insecure_srs": True, **given}
    return fetch_contract(_service(content), bundle, manifest, out, **chosen)


def test_a_fetched_contract_is_the_one_that_a_build_gives(
    built: Content, bmi_package: Package, tmp_path: Path
) -> None:
    """What the service built passes every check of somebody without a compiler, and is a folder like a built one."""
    found = _fetch(built, bmi_package, tmp_path / "contract", form="reusable")
    opened = open_contract(tmp_path / "contract")
    assert opened.descriptor == found
    assert {"contract.json": built["contract.json"], **opened.content} == built
    assert found.code_hash == REUSABLE_CODE_HASH[bmi_package.manifest.ezkl.version]
    with pytest.raises(VerinferError, match="exists"):
        _fetch(built, bmi_package, tmp_path / "contract")
    with pytest.raises(VerinferError, match="insecure-srs"):
        _fetch(built, bmi_package, tmp_path / "other", allow_insecure_srs=False)


def test_a_contract_is_built_once(
    built: Content, settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart, and without a compiler, it is served from the data folder; what was left aside is gone."""
    monkeypatch.setenv("PATH", "/nowhere")
    left = settings.data / "contracts" / ".torn"
    left.mkdir()
    with open_resources(settings) as resources, serve(resources) as client:
        assert client.get(PATH + REUSABLE).content == built["contract.json"]
        assert client.get(f"{PATH}/Verifier.bin{REUSABLE}").content == built["Verifier.bin"]
    assert not left.exists()


def test_a_machine_without_a_compiler_says_what_to_do(
    bmi_package: Package, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stable code, and how to get the same contract without the service; nothing is left of the attempt."""
    monkeypatch.setenv("PATH", "/nowhere")
    settings = Settings(packages=(bmi_package.folder,), data=tmp_path / "data")
    with open_resources(settings) as resources, serve(resources) as client:
        for _ in range(2):
            answer = _wait(client, PATH)
            assert (answer.status_code, answer.json()["code"]) == (501, "contract-unsupported")
            assert "verinfer contract build" in answer.json()["detail"]
        assert client.get("/v1/models/nobody/contract").json()["code"] == "model-unknown"
    assert not list((tmp_path / "data" / "contracts").iterdir())


def test_a_circuit_that_hides_its_input_has_no_contract(
    hashed_package: Package, serve: Serve, tmp_path: Path
) -> None:
    """The consumer takes public inputs only; nothing is built to find that out."""
    settings = Settings(packages=(hashed_package.folder,), data=tmp_path / "data")
    with open_resources(settings) as resources, serve(resources) as client:
        answer = client.get(PATH)
    assert (answer.status_code, answer.json()["code"]) == (404, "inputs-hidden")


def test_a_torn_folder_is_not_served(settings: Settings, built: Content, tmp_path: Path) -> None:
    """A file that changed on disk makes the folder as good as absent, so it is built again."""
    (folder,) = (settings.data / "contracts").iterdir()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert _read(copy) == built
    (copy / "Verifier.bin").write_text("00")
    assert _read(copy) is None


def _described(content: Content, **changes: Any) -> None:
    body = json.loads(content["contract.json"])
    files = {name: sha256(data) for name, data in content.items() if name != "contract.json"}
    body = {**body, "files": files, **changes}
    content["contract.json"] = json.dumps(
        {key: value for key, value in body.items() if value is not None}
    ).encode()


def _replaced(name: str, old: bytes, new: bytes) -> Callable[[Content], None]:
    def lie(content: Content) -> None:
        assert old in content[name]
        content[name] = content[name].replace(old, new, 1)
        _described(content)

    return lie


def _other_words(content: Content) -> None:
    words = json.loads(content["vka.json"])
    words[-1] = "11" * 32
    content["vka.json"] = json.dumps(words).encode()
    digest = keccak256(b"".join(map(bytes.fromhex, words))).hex()
    _described(content, vka_digest=digest, model_pin=digest)


def _other_circuit(content: Content) -> None:
    manifest = json.loads(content["manifest.json"])
    manifest["model"]["version"] = "2"
    content["manifest.json"] = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    _described(content, circuit=sha256(content["manifest.json"]))


def _torn(content: Content) -> None:
    content["Verifier.bin"] = b"00"


def _more(content: Content) -> None:
    content["../../evil"] = b""
    _described(content)


def _single(content: Content) -> None:
    del content["vka.json"]
    code_hash = json.loads(content["contract.json"])["code_hash"]
    _described(content, form="single", vka_digest=None, model_pin=code_hash)


LIES: dict[str, tuple[Callable[[Content], None], str]] = {
    "another consumer": (_replaced("InferenceConsumer.bin", b"60", b"61"), "code-mismatch"),
    "another interface": (_replaced("ModelRegistry.abi.json", b"owner", b"thief"), "code-mismatch"),
    "another consumer's source": (
        _replaced("contracts/InferenceConsumer.sol", b"R / 2", b"R / 3"),
        "code-mismatch",
    ),
    "a source that is not hardened": (_replaced("Verifier.sol", b"proof.offset", b"0x84"), "code-mismatch"),
    "code that is not hardened": (
        _replaced("Verifier.runtime.bin", b"60", b"61"),
        "contract-malformed",
    ),
    "other code that deploys it": (_replaced("Verifier.bin", b"5ffd5b50", b"5fff5b50"), "code-mismatch"),
    "another circuit's words": (_other_words, "code-mismatch"),
    "another circuit": (_other_circuit, "circuit-not-pinned"),
    "another scale": (lambda content: _described(content, output_scale=1), "code-mismatch"),
    "a better SRS": (lambda content: _described(content, srs="ceremony"), "code-mismatch"),
    "a torn file": (_torn, "artifact-torn"),
    "a file elsewhere": (_more, "contract-malformed"),
    "no description": (lambda content: content.update({"contract.json": b"[]"}), "contract-malformed"),
    "a single verifier without a pin": (_single, "usage"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_service_is_refused(name: str, built: Content, bmi_package: Package, tmp_path: Path) -> None:
    """Whatever it gives in a file's place, with digests that fit, nothing is kept, and the code says why."""
    content, (lie, code) = dict(built), LIES[name]
    lie(content)
    with pytest.raises(VerinferError) as caught:
        _fetch(content, bmi_package, tmp_path / "contract")
    assert caught.value.code == code
    assert not list(tmp_path.iterdir())


def test_a_code_hash_pins(built: Content, bmi_package: Package, tmp_path: Path) -> None:
    """Another code hash than the one given is refused, and with that one the source still has to be the circuit's."""
    with pytest.raises(VerinferError, match="code-mismatch"):
        _fetch(built, bmi_package, tmp_path / "contract", code_hash="00" * 32)
    content = dict(built)
    _single(content)
    pin = json.loads(content["contract.json"])["code_hash"]
    with pytest.raises(VerinferError, match=r"code-mismatch: The verifier's Solidity"):
        _fetch(content, bmi_package, tmp_path / "contract", code_hash=pin)
