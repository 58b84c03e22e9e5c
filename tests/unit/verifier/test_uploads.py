"""What an owner fetches after an upload, from a service that lies, floods or forges: nothing wrong is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verinfer.verifier import keys, uploads
from verinfer.verifier.client import ServiceError
from verinfer.verifier.commands.upload import command
from verinfer.verifier.errors import Rejected, UsageError, VerinferError
from verinfer.verifier.manifest import Manifest, parse_manifest
from verinfer.verifier.uploads import Built, Upload

from ...serving import reply, serving

BUNDLES = Path(__file__).parents[2] / "vectors" / "shared" / "bundles"
OURS = BUNDLES.parents[1] / "sumcheck" / "receipts" / "shared" / "bundles"
WELL_KNOWN = "/.well-known/verinfer.json"

Answers = Mapping[str, bytes | dict[str, object]]


def _home() -> tuple[Path, Manifest]:
    found = (
        (path.parent, parse_manifest(path.read_bytes())) for path in sorted(BUNDLES.glob("*/manifest.json"))
    )
    wanted = ("bmi", "public", 1)
    return next(
        (home, manifest)
        for home, manifest in found
        if (manifest.model.name, manifest.visibility, manifest.samples) == wanted
    )


HOME, MANIFEST = _home()
BUILT = Built(MANIFEST.model.name, MANIFEST.model.version, MANIFEST.digest)
PREFIX = f"/v1/models/{BUILT.model}/versions/{BUILT.version}"
SRS_BYTES = 4 + 128 * (1 << MANIFEST.ezkl.run_args.logrows) + 256


@contextmanager
def _service(answers: Answers) -> Iterator[tuple[httpx.Client, list[bytes]]]:
    """A service with these answers by path, and the bodies that it was sent; everything else is a problem."""
    sent: list[bytes] = []

    def respond(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if handler.command == "POST":
            sent.append(body)
        answer = answers.get(handler.path, {"code": "path-unknown", "detail": "no\x1b[2J"})
        said = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        reply(handler, said, status=200 if handler.path in answers else 404)

    with serving(respond) as url, httpx.Client(base_url=url, timeout=5) as http:
        yield http, sent


def _quiet(_phase: str, _share: float) -> None:
    """No progress."""


def _bundle() -> dict[str, bytes | dict[str, object]]:
    return {f"{PREFIX}/bundle/{path.name}": path.read_bytes() for path in HOME.iterdir()}


@pytest.mark.parametrize(
    ("changes", "built", "code"),
    [
        ({f"{PREFIX}/bundle/vk.key": b"another"}, BUILT, "bundle-mismatch"),
        ({}, Built(BUILT.model, BUILT.version, "0" * 64), "bundle-mismatch"),
        ({f"{PREFIX}/srs": bytes(SRS_BYTES)}, BUILT, "artifact-torn"),
        ({f"{PREFIX}/srs": bytes(SRS_BYTES + 1)}, BUILT, "too-large"),
        ({}, BUILT, "service-refused"),
    ],
    ids=["another vk", "another circuit", "another SRS", "a flood", "no SRS"],
)
def test_nothing_wrong_is_kept(tmp_path: Path, changes: Answers, built: Built, code: str) -> None:
    """Files that are not of the circuit that was named leave no folder behind."""
    with _service({**_bundle(), **changes}) as (http, _), pytest.raises(VerinferError) as caught:
        uploads.fetch(http, built, tmp_path / "out", _quiet)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("asked", [{"batch": 2}, {"inputs": "private"}])
def test_a_circuit_that_was_not_asked_for_is_not_kept(tmp_path: Path, asked: dict[str, Any]) -> None:
    """A rebuild shows that it is the model's, not that it takes so many samples or hides its inputs."""
    with _service(_bundle()) as (http, _), pytest.raises(Rejected, match="not asked for"):
        uploads.fetch(http, BUILT, tmp_path / "out", _quiet, **asked)
    assert list(tmp_path.iterdir()) == []


def test_another_models_circuit_is_not_kept(tmp_path: Path) -> None:
    """A whole and consistent bundle, of a model that was not uploaded."""
    prefix = "/v1/models/mine/versions/1"
    answers = {f"{prefix}/bundle/{path.name}": path.read_bytes() for path in HOME.iterdir()}
    with _service(answers) as (http, _), pytest.raises(VerinferError, match="another model"):
        uploads.fetch(http, Built("mine", "1", MANIFEST.digest), tmp_path / "out", _quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_circuit_without_an_srs_has_none_to_fetch(tmp_path: Path) -> None:
    """Of verinfer-sc/1 the bundle's own files and the key are all there is; a service that has no SRS is asked for none."""
    (home, manifest) = next(
        (path.parent, found)
        for path in OURS.glob("*/manifest.json")
        if (found := parse_manifest(path.read_bytes())).model.name == "bmi"
    )
    answers: Answers = {f"{PREFIX}/bundle/{path.name}": path.read_bytes() for path in home.iterdir()}
    key: dict[str, object] = {
        "keys": [{"key": keys.encode_public(Ed25519PrivateKey.generate().public_key())}]
    }
    built = Built(manifest.model.name, manifest.model.version, manifest.digest)
    with _service({**answers, WELL_KNOWN: key}) as (http, _):
        bundle = uploads.fetch(http, built, tmp_path / "out", _quiet)
    assert bundle.provenance == "transparent"
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    files = ("manifest.json", "description.json", "key.proof")
    assert made == {"service.pub.pem", *(f"verify/{name}" for name in files)}
    bent = {**answers, f"{PREFIX}/bundle/key.proof": b"another", WELL_KNOWN: key}
    with _service(bent) as (http, _), pytest.raises(Rejected) as caught:
        uploads.fetch(http, built, tmp_path / "bent", _quiet)
    assert caught.value.code == "bundle-mismatch"
    assert not (tmp_path / "bent").exists()


@pytest.mark.parametrize(
    "state",
    [
        {"status": "succeeded", "model": "m", "version": "1", "receipt_digest": "0" * 64},
        {"status": "succeeded", "model": ["m"], "version": "1", "circuit": "0" * 64},
    ],
)
def test_a_job_that_built_nothing_is_no_build(state: dict[str, object]) -> None:
    """A proof's job, or nonsense."""
    with _service({"/v1/jobs/a": state}) as (http, _), pytest.raises(VerinferError) as caught:
        uploads.wait(http, "a", seconds=5, on_progress=_quiet)
    assert caught.value.code == "answer-malformed"


def test_a_failed_build_says_why() -> None:
    """With the job's own code, and words that are safe to print."""
    state = {"status": "failed", "code": "no-circuit", "detail": "none\x1b[2J agrees"}
    answers: Answers = {"/v1/jobs/a": {**state}}
    with _service(answers) as (http, _), pytest.raises(ServiceError) as caught:
        uploads.wait(http, "a", seconds=5, on_progress=_quiet)
    assert caught.value.service_code == "no-circuit"
    assert "\x1b" not in caught.value.message


def test_files_are_sent_whole_and_with_progress(tmp_path: Path) -> None:
    """Each file once, under the name of its part; progress ends at all of it; what is too large there is not sent."""
    (tmp_path / "m.onnx").write_bytes(b"model" * 50_000)
    (tmp_path / "s.npz").write_bytes(b"samples")
    given = Upload(files={"model": tmp_path / "m.onnx", "samples": tmp_path / "s.npz"}, texts={"name": "m"})
    shown: list[float] = []
    answers: Answers = {"/v1/models": {"id": "abc"}, WELL_KNOWN: {"most_upload_bytes": 1 << 20}}
    with _service(answers) as (http, sent):
        job = uploads.submit(http, given, seconds=5, on_progress=lambda _phase, share: shown.append(share))
    assert job == "abc"
    (body,) = sent
    assert body.count(b"model" * 50_000) == 1
    assert all(f'name="{name}"'.encode() in body for name in ("model", "samples", "name"))
    assert shown == sorted(shown)
    assert shown[-1] == 1.0
    with (
        _service({WELL_KNOWN: {"most_upload_bytes": 100}}) as (http, sent),
        pytest.raises(UsageError, match="takes 100 at most"),
    ):
        uploads.submit(http, given, seconds=5, on_progress=_quiet)
    assert sent == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{file}"], "--data"),
        (["{folder}", "--name", "x"], "itself"),
        (["{file}", "--data", "{file}", "--out", "{folder}"], "exists"),
    ],
)
def test_a_wrong_command_is_told_before_anything_is_sent(tmp_path: Path, words: list[str], said: str) -> None:
    """With what to do instead."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "m.onnx").write_bytes(b"model")
    places = {"file": tmp_path / "m.onnx", "folder": folder}
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(command, [word.format(**places) for word in words], catch_exceptions=False)
