"""The whole path in verinfer-sc/1: a real server, a proof within the request, and a verifier that knows its own pins alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from verinfer.circuits.package import Package

from .conftest import NONCE, Server, arguments, verinfer

WORKER = b"circuits._sumcheck"


@pytest.fixture(scope="module")
def serving(sumcheck_package: Package, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the one package, which is up as long as this module's tests."""
    home = tmp_path_factory.mktemp("sumcheck")
    made = Server(sumcheck_package.folder, home / "data", home / "server.log")
    with made.http:
        try:
            made.start()
            yield made
        finally:
            if made.process is not None and made.process.poll() is None:
                made.stop(signal.SIGKILL)


def _worker(server: Server) -> int:
    """The process that keeps the proving key."""
    found: list[int] = []

    def there() -> bool:
        written = [int(path.name) for path in (server.data / "provers").iterdir()]
        found[:] = [pid for pid in written if WORKER in arguments(pid)]
        return len(found) == 1

    server.until(there, seconds=30)
    return found[0]


def test_a_proof_comes_with_the_answer_and_is_verified_offline(
    serving: Server, sumcheck_package: Package, tmp_path: Path
) -> None:
    """One POST in mode proof; a policy made of the package, another process, and the caveats that such a proof has."""
    body = serving.infer(mode="proof").json()
    (tmp_path / "receipt.json").write_text(body["parameters"]["receipt"])
    key = serving.data / "service.pub.pem"
    verinfer(tmp_path, "policy", "init", sumcheck_package.folder, "--issuer", key, "--out", "policy.json")
    checking = ("verify", "receipt.json", "--policy", "policy.json", "--nonce", NONCE, "--json")
    verdict = verinfer(tmp_path, *checking, "--mode", "proof")
    assert "computed-by-circuit" in verdict["claims"]
    assert {"integrity-only-proof", "proof-system-unaudited"} <= set(verdict["caveats"])
    assert not {"proof-system-open-risks", "insecure-srs"} & set(verdict["caveats"])
    assert body["outputs"][0]["name"] == verdict["outputs"][0]["name"]
    refused = verinfer(tmp_path, *checking[:-2], "0" * 64, "--json", expect=1)
    assert refused["code"] == "nonce-mismatch"


@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [
        ("zk", 422, "not-zero-knowledge"),
        ("tee+zk", 422, "not-zero-knowledge"),
        ("tee+proof", 501, "mode-unsupported"),
    ],
)
def test_what_these_proofs_are_not_is_not_promised(
    serving: Server, mode: str, status: int, code: str
) -> None:
    """Nobody gets a receipt that says zero-knowledge with a proof that is not."""
    refused = serving.infer(mode=mode)
    assert (refused.status_code, refused.json()["code"]) == (status, code)


def test_what_is_published_of_it_is_what_there_is(serving: Server) -> None:
    """Its modes, its bundle's files, and no SRS."""
    (model,) = serving.get("/v1/models").json()["models"]
    assert (model["proof_system"], model["srs"]) == ("verinfer-sc-1", "transparent")
    assert model["modes"] == ["none", "proof"]
    names = {path.rpartition("/")[2] for path in model["bundle"]}
    assert names == {"manifest.json", "description.json", "key.proof"}
    assert all(serving.get(path).status_code == 200 for path in model["bundle"])
    assert "srs_file" not in model
    missing = serving.get("/v1/models/bmi/srs")
    assert (missing.status_code, missing.json()["code"]) == (404, "file-unknown")


def test_the_server_outlives_its_worker(serving: Server) -> None:
    """A worker that is killed between requests is replaced before the next one; one process serves all requests until then."""
    first = _worker(serving)
    assert serving.infer(mode="proof", nonce="01" * 32).status_code == 200
    assert _worker(serving) == first
    os.kill(first, signal.SIGKILL)
    response = serving.infer(mode="proof", nonce="02" * 32)
    assert response.status_code == 200
    receipt = json.loads(response.json()["parameters"]["receipt"])
    assert list(receipt["evidence"]) == ["proof/verinfer-sc-1"]
    assert _worker(serving) != first


def test_an_answer_without_a_proof_is_fp32s(serving: Server) -> None:
    """Mode none is answered by onnxruntime, as for any package."""
    assert serving.infer(mode="none").json()["outputs"][0]["name"] == "body"
