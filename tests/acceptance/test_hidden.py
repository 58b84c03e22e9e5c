"""A client of a service that hides inputs: what it keeps, and what it does not let itself be told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from verinfer.circuits.package import Package

from .conftest import Server, verinfer

SAMPLE = Path(__file__).parents[2] / "models" / "zoo" / "bmi" / "sample.json"


def _pin(home: Path, package: Package) -> Path:
    """A policy of this service's key and this circuit."""
    policy = home / f"pins-{package.manifest.visibility}" / "policy.json"
    issuer = ("--issuer", home / "data" / "service.pub.pem", "--allow-insecure-srs")
    verinfer(home, "policy", "init", package.folder, *issuer, "--out", policy)
    return policy


def _serve(package: Package, home: Path) -> Server:
    served = Server(package=package.folder, data=home / "data", log=home / "log")
    served.start()
    return served


def test_the_salt_of_a_hashed_input_stays_with_its_owner(hashed_package: Package, tmp_path: Path) -> None:
    """It is on disk for its owner alone, opens the hash, outlives a request that fails, and is never replaced."""
    server = _serve(hashed_package, tmp_path)
    url = server.http.base_url
    policy = _pin(tmp_path, hashed_package)
    ask = ("infer", SAMPLE, "--json", "--policy", policy, "--out", tmp_path / "r.json", "--url")
    salt = tmp_path / "r.json.salt"
    try:
        # Nobody answers at this address.
        assert verinfer(tmp_path, *ask, "http://127.0.0.1:9", expect=4)["code"] == "service-unreachable"
        kept = salt.read_text()
        assert salt.stat().st_mode & 0o777 == 0o600
        answer = verinfer(tmp_path, *ask, url)
        assert (answer["salt"], salt.read_text()) == (str(salt), kept)
        assert "input-is-yours" in answer["claims"]
        assert kept.strip() not in (tmp_path / "r.json").read_text()
        assert verinfer(tmp_path, *ask, url, expect=2)["code"] == "exists"
        assert salt.read_text() == kept
        # With another sample the same salt opens nothing.
        raw = json.loads(SAMPLE.read_text())
        other = tmp_path / "other.json"
        other.write_text(json.dumps({name: [value + 1 for value in values] for name, values in raw.items()}))
        check = ("verify", tmp_path / "r.json", "--json", "--policy", policy, "--salt", salt, "--sample")
        assert "input-is-yours" in verinfer(tmp_path, *check, SAMPLE)["claims"]
        assert verinfer(tmp_path, *check, other, expect=1)["code"] == "input-mismatch"
    finally:
        server.http.close()
        server.stop()


def test_a_client_of_a_private_circuit_takes_no_other(
    private_package: Package, bmi_package: Package, tmp_path: Path
) -> None:
    """Its answer claims an undisclosed input; one by another pinned circuit, on whatever input, is refused."""
    server = _serve(private_package, tmp_path)
    try:
        policy = _pin(tmp_path, private_package)
        ask = ("infer", SAMPLE, "--json", "--policy", policy, "--out", tmp_path / "r.json", "--url")
        claims = verinfer(tmp_path, *ask, server.http.base_url)["claims"]
        assert "computed-on-undisclosed-input" in claims
        assert "input-is-yours" not in claims
        check = ("verify", tmp_path / "r.json", "--json", "--policy", policy, "--sample", SAMPLE)
        assert verinfer(tmp_path, *check, expect=1)["code"] == "input-undisclosed"
    finally:
        server.http.close()
        server.stop()

    # The same key now serves a circuit that shows its input, and somebody's policy pins both.
    body = json.loads(policy.read_text())
    public = {"digest": bmi_package.digest, "model_checked": "trusted"}
    body["models"][0]["circuits"].append(public)
    policy.write_text(json.dumps(body))
    shutil.copytree(bmi_package.path("verify"), policy.parent / "bundles" / bmi_package.digest)
    server = _serve(bmi_package, tmp_path)
    try:
        refused = verinfer(tmp_path, *ask, server.http.base_url, expect=1)
        assert refused["code"] == "visibility-mismatch"
    finally:
        server.http.close()
        server.stop()
