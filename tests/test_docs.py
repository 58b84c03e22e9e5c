"""The documents say what the software does: their commands run, their tables are complete, their links lead somewhere."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from verinfer.service.errors import SERVICE_CODES
from verinfer.verifier.errors import CODES

from .node import KEY, free_port, running

CHAIN = "8545"
"""The port of a node, which the README does not start."""
ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path for path in ROOT.glob("**/*.md") if not {".venv", ".cache", "demo-out", "vectors"} & set(path.parts)
)


def _blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def _commands(document: Path) -> list[list[str]]:
    lines = [line for block in _blocks(document, "console") for line in block.splitlines()]
    commands = [
        line.removeprefix("$ ").partition("  #")[0].strip() for line in lines if line.startswith("$ ")
    ]
    return [shlex.split(command, comments=True) for command in commands]


@dataclass
class _Checkout:
    """A folder that looks like the checkout to the README's commands, and the servers that they started.

    `ports`: those that are free here, by those that the README names.
    """

    home: Path
    ports: dict[str, int]
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)


@pytest.fixture(scope="module")
def checkout(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Checkout]:
    """One for all commands, each of which needs what those before it made; of bmi's samples it has a few."""
    ports = {shown: free_port() for shown in ("8000", "8001", "8002", CHAIN)}
    made = _Checkout(tmp_path_factory.mktemp("checkout"), ports)
    zoo = made.home / "models" / "zoo"
    zoo.mkdir(parents=True)
    for model in (ROOT / "models" / "zoo").iterdir():
        (zoo / model.name).symlink_to(quick if model.name == "bmi" else model)
    with running(ports[CHAIN]):
        yield made
    for server in made.servers:
        server.terminate()
        server.wait(timeout=20)


@pytest.mark.parametrize("command", _commands(ROOT / "README.md"), ids=" ".join)
def test_the_readmes_commands_run_in_its_order(command: list[str], checkout: _Checkout) -> None:
    """Every verinfer command of the README works as shown, after those before it."""
    if command[0].startswith("./scripts/"):
        assert (ROOT / command[0]).is_file()
        return
    assert command[0] == "verinfer"
    # Other tests run beside, and a build that stands back behind them would take too long.
    home, environment = checkout.home, {**os.environ, "PYTHONSAFEPATH": "1", "VERINFER_BUILD_NICE": "0"}
    environment["VERINFER_PRIVATE_KEY"] = KEY
    arguments = [_with_free_ports(word, checkout) for word in command[1:]]
    process = [sys.executable, "-m", "verinfer.verifier", *arguments]
    if arguments[0] == "serve":
        port = arguments[arguments.index("--port") + 1]
        with (home / f"serve-{port}.log").open("wb") as log:
            checkout.servers.append(
                subprocess.Popen(process, cwd=home, stdout=log, stderr=log, env=environment)
            )
        _wait_until_ready(int(port))
        return
    done = subprocess.run(process, cwd=home, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, (done.stdout, done.stderr)


def test_the_documents_python_runs_after_its_commands(checkout: _Checkout) -> None:
    """The README's block asks the service that its commands started, the verifier's checks the receipt that they left."""
    assert "FP32" in _run_python_of(ROOT / "README.md", "8000", str(checkout.ports["8000"]))
    receipt = json.loads((checkout.home / "receipt.json").read_text())
    assert receipt["evidence"]
    statement = json.loads(base64.b64decode(receipt["envelope"]["payload"]))
    (checkout.home / "nonce.txt").write_text(statement["predicate"]["nonce"])
    said = _run_python_of(ROOT / "verifier" / "README.md", "demo-out", str(checkout.home))
    assert "fresh-for-nonce" in said


def _with_free_ports(word: str, checkout: _Checkout) -> str:
    for shown, here in checkout.ports.items():
        if word == shown or word.endswith(f":{shown}"):
            return word.replace(shown, str(here))
    return word


def _run_python_of(document: Path, shown: str, here: str) -> str:
    """What the document's one Python block prints, with `here` for what is `shown`."""
    (block,) = _blocks(document, "python")
    command = [sys.executable, "-c", block.replace(shown, here)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    """Every relative link and picture of a document exists."""
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_every_folder_is_documented() -> None:
    """Each folder of the house has a README, which is its specification."""
    for folder in ("models", "circuits", "service", "verifier", "tests"):
        assert (ROOT / folder / "README.md").is_file()


def test_codes_are_glossed_once() -> None:
    """Every code of the verifier and of the service has one meaning and one sentence for it."""
    assert not set(CODES) & set(SERVICE_CODES)
    for text in (*CODES.values(), *SERVICE_CODES.values()):
        assert text.endswith(".")


@pytest.mark.parametrize("suite", ["receipt", "compiler", "contract"])
def test_the_readmes_numbers_are_the_committed_ones(suite: str) -> None:
    """Each table of numbers in the README is the first one that the last committed measurement wrote."""
    shown = re.search(
        rf"<!-- {suite} -->\n(.*?)<!-- /{suite} -->", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert shown is not None
    committed = (ROOT / f"scripts/benchmarks/results/{suite}.md").read_text()
    machine, table = committed.split("\n\n")[:2]
    assert shown[1].strip() == f"{machine}\n\n{table}".strip()


def _wait_until_ready(port: int) -> None:
    for _ in range(400):
        try:
            if httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("the server did not start")
