"""The commands of a client and an owner, against a real server: `policy`, `infer`, and first use."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from verinfer.circuits.package import Package
from verinfer.verifier.preprocess import to_input

from ..serving import reply, serving
from .conftest import Server, verinfer

SAMPLE = Path(__file__).parents[2] / "models" / "zoo" / "bmi" / "sample.json"


@pytest.fixture(scope="module")
def home(bmi_package: Package, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A client's folder, a running server, and the owner's policy published by it; `url` and `pins` say where."""
    home = tmp_path_factory.mktemp("client")
    package = home / "package"
    shutil.copytree(bmi_package.folder, package)
    server = Server(package=package, data=home / "data", log=home / "log")
    server.start()
    try:
        (home / "url").write_text(str(server.http.base_url))
        owner = home / "owner.pem"
        make = (
            "policy",
            "init",
            package,
            "--issuer",
            home / "data" / "service.pub.pem",
            "--out",
            home / "policy.json",
        )
        # An insecure SRS is never pinned by accident.
        assert "insecure local SRS" in verinfer(home, *make, expect=2)["said"]
        assert not (home / "policy.json").exists()
        verinfer(home, *make, "--allow-insecure-srs", "--reproduced")
        verinfer(home, "policy", "sign", home / "policy.json", "--key", owner)
        shutil.copyfile(home / "policy.json", package / "policy.json")
        yield home
    finally:
        server.http.close()
        server.stop()


def _url(home: Path) -> tuple[str, str]:
    return "--url", (home / "url").read_text()


def test_infer_verifies_what_it_prints(home: Path) -> None:
    """One command asks, verifies against the owner's policy, prints the verdict and keeps the receipt."""
    pins = ("--policy", home / "policy.json", "--owner", home / "owner.pub.pem")
    verdict = verinfer(home, "infer", SAMPLE, *pins, *_url(home), "--out", home / "receipt.json", "--json")
    assert {"computed-by-model", "fresh-for-nonce", "input-is-yours"} <= set(verdict["claims"])
    again = verinfer(home, "verify", home / "receipt.json", *pins, "--nonce", verdict["nonce"], "--json")
    assert again["statement_digest"] == verdict["statement_digest"]


def test_infer_accepts_no_older_policy(home: Path) -> None:
    """`--min-serial` guards against an old policy, signed as it may be."""
    pins = ("--policy", home / "policy.json", "--min-serial", 2)
    verdict = verinfer(
        home, "infer", SAMPLE, *pins, *_url(home), "--out", home / "old.json", "--json", expect=1
    )
    assert verdict["code"] == "policy-rollback"
    assert not (home / "old.json").exists()
    assert (home / "old.unverified.json").exists()


def test_a_policy_is_not_replaced(home: Path) -> None:
    """Another `policy init` would lose the serial and the owner's signature."""
    before = (home / "policy.json").read_bytes()
    again = ("policy", "init", home / "package", "--issuer", home / "data" / "service.pub.pem")
    refused = verinfer(home, *again, "--out", home / "policy.json", "--allow-insecure-srs", expect=2)
    assert "exists" in refused["said"]
    assert (home / "policy.json").read_bytes() == before


@pytest.mark.parametrize("what", ["file", "missing"])
def test_a_place_that_cannot_be_written_is_said(home: Path, tmp_path: Path, what: str) -> None:
    """A file where a folder should be, or no folder at all: a code and the place, and nothing is written elsewhere."""
    (tmp_path / "file").write_text("mine")
    out = tmp_path / what / "deep" / "policy.json"
    if what == "missing":
        out = Path("/proc/nowhere/policy.json")
    make = ("policy", "init", home / "package", "--issuer", home / "data" / "service.pub.pem")
    said = verinfer(home, *make, "--out", out, "--allow-insecure-srs", expect=4)["said"]
    assert "not-writable" in said
    assert str(out.parent) in said


def test_first_use_is_marked_and_happens_once(home: Path, tmp_path: Path) -> None:
    """A policy from the operator is named so, claims less, is kept under a name that says so, and replaces nothing."""
    mine = tmp_path / "policy.json"
    mine.write_text("my pins")
    ask = (
        "infer",
        SAMPLE,
        "--trust-on-first-use",
        "--model",
        "bmi",
        *_url(home),
        "--out",
        tmp_path / "receipt.json",
    )
    verdict = verinfer(tmp_path, *ask, "--json")
    assert "policy-from-operator" in verdict["caveats"]
    assert "model-equivalence-not-checked" in verdict["caveats"]
    assert "computed-by-model" not in verdict["claims"]
    assert mine.read_text() == "my pins"
    kept = tmp_path / "policy-from-operator.json"
    before = kept.read_bytes()
    assert verinfer(tmp_path, *ask, "--json", expect=2)["code"] == "exists"
    assert kept.read_bytes() == before


def test_a_policy_of_first_use_keeps_its_mark(home: Path, tmp_path: Path) -> None:
    """Used again by any command it is the operator's word still; with the owner's key it is the owner's."""
    out = ("--out", tmp_path / "receipt.json", "--json")
    verinfer(tmp_path, "infer", SAMPLE, "--trust-on-first-use", "--model", "bmi", *_url(home), *out)
    pins = ("--policy", tmp_path / "policy-from-operator.json")
    for verdict in (
        verinfer(tmp_path, "infer", SAMPLE, *pins, *_url(home), *out),
        verinfer(tmp_path, "verify", tmp_path / "receipt.json", *pins, "--json"),
    ):
        assert "policy-from-operator" in verdict["caveats"]
        assert "computed-by-model" not in verdict["claims"]
    assert "TAKEN FROM THE OPERATOR" in verinfer(tmp_path, "policy", "show", pins[1])["said"]
    owner = ("--owner", home / "owner.pub.pem")
    verdict = verinfer(tmp_path, "verify", tmp_path / "receipt.json", *pins, *owner, "--json")
    assert "policy-from-operator" not in verdict["caveats"]
    assert "computed-by-model" in verdict["claims"]


def test_no_service_writes_a_verdict(tmp_path: Path) -> None:
    """On a terminal, narrow or wide, and in a log: whatever a service says of phases and errors, no line is a verdict."""
    vectors = Path(__file__).parents[1] / "vectors" / "shared"
    for kind in ("pipe", 40, 80, 200):
        with _liar() as url:
            text = _on_terminal(
                tmp_path,
                kind if isinstance(kind, int) else None,
                *("infer", SAMPLE, "--policy", vectors / "policy.json", "--model", "bmi", "--url", url),
            )
        lines = [line.strip("\r") for line in text.replace("\r\n", "\n").split("\n")]
        assert not [line for line in lines if line.lstrip("\r").lower().startswith("verified")], (kind, text)
        assert any(line.startswith("COULD NOT CHECK: service-refused") for line in lines), (kind, text)
        assert "HIDDEN" not in text
        assert "\u202e" not in text


FORGED = "\n\nVERIFIED  bmi 1: 42\x1b[8m\u202e\u2028"


@contextmanager
def _liar() -> Iterator[str]:
    """A service that takes a job, names phases and an error as it likes; gives its address."""
    states: list[dict[str, Any]] = [
        {"status": "running", "phase": FORGED, "progress": 0.1},
        {"status": "running", "phase": "VERIFIED  bmi 1: 42", "progress": 1e300},
        {"status": "failed", "code": FORGED, "detail": "." * 30 + FORGED * 20},
    ]

    def respond(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        answer = {"parameters": {"job": "1"}} if handler.command == "POST" else states.pop(0)
        reply(handler, json.dumps(answer).encode())

    with serving(respond) as url:
        yield url


def _on_terminal(home: Path, columns: int | None, *arguments: object) -> str:
    """What a command writes, as the lines that a terminal of this width shows; without one, as a log gets them."""
    command = [sys.executable, "-m", "verinfer.verifier", *map(str, arguments)]
    if columns is None:
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    with subprocess.Popen(command, cwd=home, stdout=theirs, stderr=theirs, stdin=theirs, env=environment):
        os.close(theirs)
        written = b""
        with suppress(OSError):  # The other end is closed when the command ends.
            while chunk := os.read(ours, 1 << 16):
                written += chunk
    os.close(ours)
    shown: list[str] = []
    for line in written.decode().replace("\r\n", "\n").split("\n"):
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.replace("\x1b[8m", "HIDDEN"))
        # The bar is drawn over again from the first column.
        for part in plain.split("\r"):
            shown += [part[at : at + columns] for at in range(0, max(len(part), 1), columns)]
    return "\n".join(shown)


MISUSE: dict[str, tuple[str, ...]] = {
    "no pins": (),
    "pins twice": ("--policy", "policy.json", "--trust-on-first-use"),
    "a nonce that is none": ("--policy", "policy.json", "--nonce", "zz"),
    "first use of no model": ("--trust-on-first-use",),
    "a model that is not pinned": ("--policy", "policy.json", "--model", "gpt"),
    "a mode that is none": ("--policy", "policy.json", "--mode", "zkp"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_a_call_that_makes_no_sense_is_refused_before_anything_is_sent(home: Path, case: str) -> None:
    """Exit code 2 and a sentence; no server is asked, so none needs to be there."""
    verinfer(home, "infer", SAMPLE, "--url", "http://127.0.0.1:1", *MISUSE[case], "--json", expect=2)


VERIFY_MISUSE: dict[str, tuple[tuple[str, ...], str]] = {
    "a nonce that is none": (("--nonce", "zz"), "usage"),
    "a time that is none": (("--at", "yesterday"), "usage"),
    "a time to come": (("--at", "9999-12-31T23:59:59Z"), "usage"),
    "a sample of a model that is not pinned": (("--model", "gpt", "--sample", str(SAMPLE)), "model-mismatch"),
}


@pytest.mark.parametrize("case", VERIFY_MISUSE)
def test_a_verification_that_makes_no_sense_is_refused(home: Path, case: str) -> None:
    """Exit code 2 with its code, also at the ends of time."""
    options, code = VERIFY_MISUSE[case]
    receipt = Path(__file__).parents[1] / "vectors" / "cases" / "proven" / "receipt.json"
    verdict = verinfer(
        home, "verify", receipt, "--policy", home / "policy.json", *options, "--json", expect=2
    )
    assert verdict["code"] == code


@pytest.mark.parametrize(
    ("change", "code"),
    [({"circuits": []}, "usage"), (None, "model-ambiguous")],
    ids=["no circuit", "two models"],
)
def test_a_sample_needs_one_model_that_describes_it(
    home: Path, tmp_path: Path, change: dict[str, Any] | None, code: str
) -> None:
    """Without a pinned circuit, or with several models and no name, nothing says how to read a sample."""
    vectors = Path(__file__).parents[1] / "vectors"
    policy = json.loads((vectors / "shared" / "policy.json").read_text())
    if change is not None:
        policy["models"] = [{**policy["models"][0], **change}]
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    pins = ("--policy", tmp_path / "policy.json", "--sample", SAMPLE, "--json")
    verdict = verinfer(home, "verify", vectors / "cases" / "proven" / "receipt.json", *pins, expect=2)
    assert verdict["code"] == code
    asked = verinfer(home, "infer", SAMPLE, *pins[:2], "--url", "http://127.0.0.1:1", "--json", expect=2)
    assert asked["code"] == code


def test_several_samples_have_one_proof(
    bmi_package: Package, batch_package: Package, quick: Path, tmp_path: Path
) -> None:
    """Rows of a CSV file go to a batched circuit together; each gets its answer, and all of them one receipt."""
    with np.load(quick / "samples.npz", allow_pickle=False) as samples:
        rows = samples["habits"].reshape(-1, 3)[:3].tolist()
    for count in (2, 3):
        text = "".join(",".join(map(repr, row)) + "\n" for row in rows[:count])
        (tmp_path / f"{count}.csv").write_text(text)
    package = tmp_path / "package"
    shutil.copytree(batch_package.folder, package)
    server = Server(package=package, data=tmp_path / "data", log=tmp_path / "log")
    server.start()
    try:
        issuer = ("--issuer", tmp_path / "data" / "service.pub.pem", "--out", tmp_path / "policy.json")
        verinfer(tmp_path, "policy", "init", package, *issuer, "--allow-insecure-srs")
        both = ("policy", "init", package, bmi_package.folder, *issuer[:2], "--out", tmp_path / "both.json")
        assert "different numbers" in verinfer(tmp_path, *both, "--allow-insecure-srs", expect=2)["said"]
        url = ("--url", str(server.http.base_url))
        pins = ("--policy", tmp_path / "policy.json")
        verdict = verinfer(tmp_path, "infer", tmp_path / "2.csv", *pins, *url, "--json")
        values = [value for row in rows[:2] for value in to_input(batch_package.manifest.inputs[0], row)]
        tensor = {"name": "habits", "shape": [2, 3], "datatype": "FP32", "data": values}
        plain = server.http.post(
            "/v2/models/bmi/infer", json={"inputs": [tensor], "parameters": {"mode": "none"}}
        )
        wrong = verinfer(tmp_path, "infer", tmp_path / "3.csv", *pins, *url, "--json", expect=2)
        metadata = server.get("/v2/models/bmi").json()
    finally:
        server.http.close()
        server.stop()
    assert verdict["samples"] == 2
    assert verdict["outputs"][0]["shape"][0] == 2
    assert "input-is-yours" in verdict["claims"]
    session = onnxruntime.InferenceSession(batch_package.path("network.onnx"))
    fp32 = [
        session.run(None, {"habits": np.array([row], np.float32)})[0] for row in np.reshape(values, (2, 3))
    ]
    assert plain.json()["outputs"][0]["data"] == pytest.approx(
        np.concatenate(fp32).ravel().tolist(), rel=1e-5
    )
    assert wrong["code"] == "shape-mismatch"
    assert "takes 2 samples at once, of 3 numbers each; given are 3 samples" in wrong["message"]
    assert metadata["inputs"][0]["shape"][0] == 2
    other = ("verify", tmp_path / "receipt.json", *pins, "--sample", tmp_path / "swapped.csv", "--json")
    (tmp_path / "swapped.csv").write_text(
        "".join(reversed((tmp_path / "2.csv").read_text().splitlines(keepends=True)))
    )
    assert verinfer(tmp_path, *other, expect=1)["code"] == "input-mismatch"
