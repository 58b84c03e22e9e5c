"""``verinfer infer`` with circuits of either proof system: a real HTTP server gives the vectors' receipts as its answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from verinfer.verifier.commands.infer import command
from verinfer.verifier.errors import Rejected, VerinferError

from ...serving import reply, serving

VECTORS = Path(__file__).parents[2] / "vectors"
OURS = VECTORS / "sumcheck" / "receipts"
SAMPLE = Path(__file__).parents[3] / "models" / "zoo" / "bmi" / "sample.json"
NONCE = "5eed" * 16


@contextmanager
def _service(vectors: Path, case: str) -> Iterator[tuple[str, list[Any]]]:
    """A service that answers everything with one case's receipt; its address, and the parameters that it was asked with."""
    asked: list[Any] = []
    receipt = (vectors / "cases" / case / "receipt.json").read_text()
    policy = _policy(vectors)
    circuit = policy["models"][0]["circuits"][0]["digest"]

    def respond(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        name = handler.path.rpartition("/")[2]
        if handler.command == "POST":
            asked.append(json.loads(body)["parameters"])
            reply(handler, json.dumps({"parameters": {"receipt": receipt}}).encode())
        elif name == "policy":
            reply(handler, json.dumps(policy).encode())
        else:
            reply(handler, (vectors / "shared" / "bundles" / circuit / name).read_bytes())

    with serving(respond) as url:
        yield url, asked


def _policy(vectors: Path) -> dict[str, Any]:
    """The vectors' policy, for answers of any age."""
    policy: dict[str, Any] = json.loads((vectors / "shared" / "policy.json").read_text())
    return {**policy, "max_age": 10**9}


def _home(tmp_path: Path, vectors: Path) -> Path:
    """A client's folder with a policy and its bundles."""
    (tmp_path / "policy.json").write_text(json.dumps(_policy(vectors)))
    shutil.copytree(vectors / "shared" / "bundles", tmp_path / "bundles")
    return tmp_path


def _infer(home: Path, url: str, *words: str) -> dict[str, Any]:
    fixed = [str(SAMPLE), "--url", url, "--model", "bmi", "--nonce", NONCE, "--out", str(home / "out.json")]
    done = CliRunner().invoke(command, [*fixed, "--json", *words], catch_exceptions=False)
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


@pytest.mark.parametrize(
    ("vectors", "case", "mode"),
    [(OURS, "sc-proven", "proof"), (VECTORS, "proven", "zk")],
    ids=["ours", "EZKL"],
)
def test_the_mode_is_the_pinned_circuits(tmp_path: Path, vectors: Path, case: str, mode: str) -> None:
    """Who says nothing asks for a proof as the circuit's system makes it; the answer is verified as that."""
    home = _home(tmp_path, vectors)
    with _service(vectors, case) as (url, asked):
        verdict = _infer(home, url, "--policy", str(home / "policy.json"))
    assert [parameters["mode"] for parameters in asked] == [mode]
    assert verdict["mode"] == mode
    assert {"computed-by-circuit", "input-is-yours", "fresh-for-nonce"} <= set(verdict["claims"])
    assert (home / "out.json").exists()


@pytest.mark.parametrize("mode", ["zk", "none"])
def test_an_answer_in_another_mode_is_refused(tmp_path: Path, mode: str) -> None:
    """A mode that is asked for is sent as it is, and an answer in another one is no answer."""
    home = _home(tmp_path, OURS)
    with _service(OURS, "sc-proven") as (url, asked), pytest.raises(Rejected) as caught:
        _infer(home, url, "--policy", str(home / "policy.json"), "--mode", mode)
    assert caught.value.code == "mode-mismatch"
    assert [parameters["mode"] for parameters in asked] == [mode]
    assert not (home / "out.json").exists()


def test_first_use_takes_the_files_that_a_manifest_names(tmp_path: Path) -> None:
    """Of verinfer-sc/1 they are others than EZKL's; the operator's word is marked as that, and there is no SRS to warn of."""
    with _service(OURS, "sc-proven") as (url, _):
        verdict = _infer(tmp_path, url, "--trust-on-first-use")
        with pytest.raises(VerinferError) as caught:
            _infer(tmp_path, url, "--trust-on-first-use")
    assert caught.value.code == "exists"
    (bundle,) = (tmp_path / "bundles").iterdir()
    assert {path.name for path in bundle.iterdir()} == {"manifest.json", "description.json", "key.proof"}
    assert "policy-from-operator" in verdict["caveats"]
    assert "insecure-srs" not in verdict["caveats"]
    assert "computed-by-circuit" in verdict["claims"]
    assert "computed-by-model" not in verdict["claims"]
