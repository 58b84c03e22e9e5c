"""The Solidity compiler: npm's solc in the one version of ``contracts/package-lock.json``, installed on first use into the cache.

Takes sources, gives bytecode and ABIs, by way of the compiler's standard JSON.
npm compares every package with its digest in the lock, and runs no script of theirs; the compiler then runs in a limited process.
Nothing else in verinfer needs Node.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, program
from ..cache import cache_folder
from ..child import ChildFailed
from ..digest import sha256
from ..errors import CouldNotCheck
from ..jail import GIB, Limits

CONTRACTS = Path(__file__).parents[1] / "contracts"
"""verinfer's own contracts, and the lock of their compiler."""

EVM_VERSION = "cancun"
_LOCK = ("package.json", "package-lock.json")
_COMPILER = "node_modules/solc/solc.js"
_MODULES = (Path("/usr/share/nodejs"),)
"""Where Debian keeps parts of Node itself."""

_INSTALL_SECONDS = 600
LIMITS = Limits(
    # Node reserves address space that it never uses, so that only the memory it touches could be limited, and the kernel does
    # not offer that: the heap's option below bounds a part of it.
    memory_bytes=1 << 46,
    cpu_seconds=120,
    file_bytes=64 << 20,
    wall_seconds=180,
)
_HEAP = f"--max-old-space-size={2 * GIB >> 20}"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OPENSSL_CONF": "/dev/null"}


@dataclass(frozen=True, slots=True)
class Compiled:
    """One contract: its ABI, the code that deploys it, and the code that then lies on chain (without immutables)."""

    abi: list[dict[str, Any]]
    creation: bytes
    runtime: bytes


def version() -> str:
    """The version of the compiler that the lock names."""
    packages = json.loads((CONTRACTS / "package-lock.json").read_bytes())["packages"]
    return str(packages["node_modules/solc"]["version"])


def compile_sources(
    sources: Mapping[str, str], names: Mapping[str, str], *, runs: int
) -> dict[str, Compiled]:
    """Compile `sources` (text by file name); of each file in `names` the contract of that name, by its name.

    `runs`: the optimizer's weight of running against deploying. Without the optimizer EZKL's verifiers do not compile.
    Raises `CouldNotCheck` (``node-missing``, ``solc-failed``, …) or `ChildFailed`.
    """
    wanted = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]
    answer = standard_json(
        {
            "language": "Solidity",
            "sources": {name: {"content": text} for name, text in sources.items()},
            "settings": {
                "optimizer": {"enabled": True, "runs": runs},
                # Else the bytecode would depend on paths and comments.
                "metadata": {"bytecodeHash": "none", "appendCBOR": False},
                "evmVersion": EVM_VERSION,
                "outputSelection": {file: {name: wanted} for file, name in names.items()},
            },
        }
    )
    errors = [item for item in answer.get("errors", []) if item.get("severity") == "error"]
    if errors:
        raise CouldNotCheck("solc-failed", f"The Solidity compiler says: {errors[0].get('message')}")
    return {name: _compiled(answer["contracts"][file][name]) for file, name in names.items()}


def _compiled(found: dict[str, Any]) -> Compiled:
    evm = found["evm"]
    creation, runtime = (bytes.fromhex(evm[part]["object"]) for part in ("bytecode", "deployedBytecode"))
    return Compiled(found["abi"], creation, runtime)


def standard_json(question: dict[str, Any]) -> dict[str, Any]:
    """The compiler's answer in standard JSON."""
    node, home = _find("node"), _installed()
    with tempfile.TemporaryDirectory(prefix="verinfer-solc-") as name:
        directory = Path(name)
        # As a file: through a pipe solc reads only as much as lies in it.
        given = directory / "input.json"
        files.write_scratch(given, json.dumps(question).encode())
        try:
            said = program.run(
                node,
                [_HEAP, str(home / _COMPILER), "--standard-json"],
                given=given,
                reads=[home, *_MODULES],
                environment=_ENVIRONMENT,
                limits=LIMITS,
                directory=directory,
            )
        except ChildFailed as failure:
            if failure.code == "child-refused":
                raise CouldNotCheck(
                    "solc-failed", f"The Solidity compiler failed: {failure.detail}"
                ) from failure
            raise
    try:
        # A line about itself comes first.
        answer: dict[str, Any] = json.loads(said[said.index(b"{") :])
    except ValueError as error:
        raise CouldNotCheck("solc-failed", "The Solidity compiler gave no answer.") from error
    return answer


def _installed() -> Path:
    """The folder of the compiler, installed if it is not there; raises `CouldNotCheck` (``node-missing``, ``solc-missing``)."""
    content = {name: files.read(CONTRACTS / name, limit=1 << 20) for name in _LOCK}
    home = cache_folder("solc") / f"{version()}-{sha256(content['package-lock.json'])[:16]}"
    if not home.is_dir():
        with files.folder_aside(home) as aside:
            made = aside / "solc"
            made.mkdir()
            for name, data in content.items():
                files.write_atomically(made / name, data)
            _npm_ci(made)
            with suppress(OSError):  # Somebody else was as fast.
                made.rename(home)
    return home


def _npm_ci(folder: Path) -> None:
    command = [
        *(str(_find("npm")), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"),
        *("--prefer-offline", "--loglevel=error"),
    ]
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise CouldNotCheck(
            "solc-missing", "npm did not install the Solidity compiler in ten minutes."
        ) from error
    finally:
        with suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode or not (folder / _COMPILER).is_file():
        raise CouldNotCheck(
            "solc-missing",
            f"npm could not install the Solidity compiler (solc {version()}); is its registry reachable? "
            f"{said.decode('utf-8', 'replace')[-600:]}",
        )


def _find(name: str) -> Path:
    path = shutil.which(name)
    if path is None:
        raise CouldNotCheck(
            "node-missing",
            f"'verinfer contract' compiles Solidity with solc, which needs Node 18 or newer and npm; there is no {name}. "
            "On Debian: apt install nodejs npm",
        )
    return Path(path).resolve() if name == "node" else Path(path)
