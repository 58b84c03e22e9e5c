"""The Solidity compiler: pinned, installed by itself, and named where it is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.evm import solc
from verinfer.verifier.evm.build import CODE_LIMIT
from verinfer.verifier.evm.descriptor import artifacts
from verinfer.verifier.evm.fetch import OWN_ARTIFACTS, own_digest
from verinfer.verifier.evm.solc import Compiled

SOURCE = (
    "// SPDX-License-Identifier: Apache-2.0\npragma solidity ^0.8.24;\ncontract A { uint256 public a = 7; }"
)


def test_the_compiler_is_the_locked_one() -> None:
    """The lock pins one version and the digest of every package, and names no registry."""
    lock = json.loads((solc.CONTRACTS / "package-lock.json").read_bytes())
    asked = json.loads((solc.CONTRACTS / "package.json").read_bytes())["dependencies"]
    assert asked == {"solc": solc.version()}
    packages = {name: item for name, item in lock["packages"].items() if name}
    assert all(
        item["integrity"].startswith("sha512-") and "resolved" not in item for item in packages.values()
    )


def test_our_own_bytecode_is_pinned(own: dict[str, Compiled]) -> None:
    """Who fetches a contract folder without a compiler knows our contracts by this digest; it changes with their sources."""
    content = {
        file: data for name, compiled in own.items() for file, data in artifacts(name, compiled).items()
    }
    assert own_digest(content) == OWN_ARTIFACTS, (
        "the contracts were changed: put their new digest into evm/fetch.py"
    )


def test_bytecode_depends_on_the_source_alone() -> None:
    """Whatever the file is called and whoever comments in it: no path and no metadata is in the code."""
    one = solc.compile_sources({"A.sol": SOURCE}, {"A.sol": "A"}, runs=200)["A"]
    two = solc.compile_sources({"B.sol": SOURCE + "\n// a comment"}, {"B.sol": "A"}, runs=200)["A"]
    assert one == two
    assert [item["name"] for item in one.abi] == ["a"]


def test_what_the_compiler_refuses_is_said() -> None:
    """An error of the source has a code, and the compiler's own words."""
    with pytest.raises(CouldNotCheck, match="Expected") as caught:
        solc.compile_sources({"A.sol": "contract {"}, {"A.sol": "A"}, runs=200)
    assert caught.value.code == "solc-failed"


def test_without_node_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Node is missing, the code is stable and the message says what to do; nothing half-installed stays behind."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(CouldNotCheck, match="apt install nodejs npm") as caught:
        solc.compile_sources({"A.sol": SOURCE}, {"A.sol": "A"}, runs=200)
    assert caught.value.code == "node-missing"
    (tmp_path / "node").symlink_to("/bin/true")
    with pytest.raises(CouldNotCheck, match="no npm"):
        solc.compile_sources({"A.sol": SOURCE}, {"A.sol": "A"}, runs=200)
    assert not list((tmp_path / "cache" / "verinfer" / "solc").iterdir())


def test_an_install_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where npm cannot get the packages, the error has a code and npm's words, and the next call starts over."""
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'no such registry'\nexit 1\n")
    npm.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(CouldNotCheck, match="no such registry") as caught:
        solc.compile_sources({"A.sol": SOURCE}, {"A.sol": "A"}, runs=200)
    assert caught.value.code == "solc-missing"
    assert not list((tmp_path / "cache" / "verinfer" / "solc").iterdir())


def test_our_contracts_fit_every_chain(own: dict[str, Compiled]) -> None:
    """Each is far below the limit of EIP-170."""
    assert all(0 < len(compiled.runtime) < CODE_LIMIT // 2 for compiled in own.values())
