"""Uploads over real HTTP, without a supervisor: what is refused, with which code, and that nothing of it is left."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verinfer.circuits.package import Package
from verinfer.service import storage
from verinfer.service.parts import Resources, open_resources
from verinfer.service.settings import Settings
from verinfer.verifier.digest import sha256

from .conftest import Serve

LIMIT = 200_000
BODY_SECONDS = 2.0
MODELS = "/v1/models"


@pytest.fixture(scope="module")
def resources(bmi_package: Package, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    """A data folder, one model that is served already, and uploads allowed."""
    settings = Settings(
        packages=(bmi_package.folder,),
        data=tmp_path_factory.mktemp("data"),
        allow_uploads=True,
        upload_bytes=LIMIT,
        body_seconds=BODY_SECONDS,
        free_bytes=0,
        build_queue_limit=100,
    )
    with open_resources(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(resources: Resources, serve: Serve) -> Iterator[httpx.Client]:
    """The application."""
    with serve(resources) as opened:
        yield opened


@pytest.fixture
def untouched(resources: Resources) -> Iterator[None]:
    """Fails the test if it leaves a file or a job behind."""

    def state() -> tuple[list[str], frozenset[str]]:
        # Folders may go while they are looked at.
        found = os.walk(resources.folder.uploads)
        paths = [str(Path(home, name)) for home, folders, files in found for name in folders + files]
        return sorted(paths), resources.builds.unfinished()

    before = state()
    yield
    # A connection that broke is noticed a moment later.
    deadline = time.monotonic() + 5
    while state() != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert state() == before


def _samples() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, x=np.zeros((4, 3), np.float32), expected=np.zeros(4, np.int64))
    return buffer.getvalue()


def _model(*nodes: onnx.NodeProto, tensors: tuple[onnx.TensorProto, ...] = (), **options: Any) -> bytes:
    value = helper.make_tensor_value_info
    shape = options.pop("shape", [1, 3])
    graph = helper.make_graph(
        nodes or [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, shape)],
        list(tensors),
    )
    opsets = options.pop("opset_imports", [helper.make_opsetid("", 17)])
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8, **options)
    data: bytes = made.SerializeToString()
    return data


SAMPLES = _samples()
MODEL = _model()

Files = dict[str, bytes]
_ABSENT = b"absent"


def _post(
    client: httpx.Client,
    files: Files | None = None,
    *,
    headers: dict[str, str] | None = None,
    **texts: str,
) -> httpx.Response:
    """Upload the smallest model, with other `files` and `texts`; a file that is `_ABSENT` is not sent."""
    given = {"model": MODEL, "samples": SAMPLES, **(files or {})}
    parts = {
        name: ("../../etc/passwd", data, "application/octet-stream")
        for name, data in given.items()
        if data != _ABSENT
    }
    return client.post(MODELS, data=texts, files=parts, headers=headers)


def _code(response: httpx.Response) -> tuple[int, str, str | None]:
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, problem["code"], problem.get("field")


def test_an_upload_is_queued_and_its_files_are_kept(client: httpx.Client, resources: Resources) -> None:
    """202 names the job; the files lie in its folder under our own names, private, until it ends."""
    response = _post(
        client, {"labels": b"a\nb\nc\n"}, name="kept", version="2", batch="2", target="memory<=1GB"
    )
    assert response.status_code == 202, response.text
    state = response.json()
    assert response.headers["location"] == f"/v1/jobs/{state['id']}"
    facts = [state.get(name) for name in ("kind", "status", "model", "version", "progress", "mode")]
    assert facts == ["build", "queued", "kept", "2", 0.0, None]
    home = resources.folder.uploads / state["id"]
    kept = {path.name: (path.read_bytes(), path.stat().st_mode & 0o777) for path in home.iterdir()}
    assert kept == {
        "network.onnx": (MODEL, 0o600),
        "samples.npz": (SAMPLES, 0o600),
        "labels.txt": (b"a\nb\nc\n", 0o600),
    }
    cancelled = client.delete(f"/v1/jobs/{state['id']}")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert not home.exists()
    # The name is free again.
    assert _post(client, name="kept", version="2").status_code == 202


BAD: dict[str, tuple[Files, dict[str, Any], int, str, str | None]] = {
    "no model": ({"model": _ABSENT}, {"name": "m"}, 400, "request-malformed", "model"),
    "no samples": ({"samples": _ABSENT}, {"name": "m"}, 400, "request-malformed", "samples"),
    "no name": ({}, {}, 422, "usage", "name"),
    "a path for a name": ({}, {"name": "../x"}, 422, "usage", "name"),
    "an absolute path": ({}, {"name": "/etc"}, 422, "usage", "name"),
    "a hidden name": ({}, {"name": ".x"}, 422, "usage", "name"),
    "a name of two lines": ({}, {"name": "x\ny"}, 422, "usage", "name"),
    "a path for a version": ({}, {"name": "m", "version": "1/../2"}, 422, "usage", "version"),
    "an unknown part": ({"srs": b"mine"}, {"name": "m"}, 400, "request-malformed", "srs"),
    "a text too long": ({}, {"name": "m", "target": "x" * 5000}, 413, "too-large", "target"),
    "a target": ({}, {"name": "m", "target": "speed>=9"}, 422, "target-malformed", None),
    "a target of another task": (
        {}, {"name": "m", "task": "regression", "target": "accuracy>=0.9"}, 422, "target-malformed", None,
    ),
    "a task": ({}, {"name": "m", "task": "poetry"}, 422, "usage", "task"),
    "a batch of none": ({}, {"name": "m", "batch": "0"}, 422, "usage", "batch"),
    "a batch that is no number": ({}, {"name": "m", "batch": "²"}, 422, "usage", "batch"),
    "an unknown visibility": ({}, {"name": "m", "inputs": "secret"}, 422, "usage", "inputs"),
    "a budget": ({}, {"name": "m", "budget": "soon"}, 422, "usage", "budget"),
    "an endless budget": ({}, {"name": "m", "budget": "9" * 400}, 422, "usage", "budget"),
    "a cut head": ({}, {"name": "m", "cut_head": "maybe"}, 422, "usage", "cut_head"),
    "labels that are no text": ({"labels": b"\xff"}, {"name": "m"}, 422, "usage", "labels"),
    "labels with control characters": ({"labels": b"a\x1b[2J"}, {"name": "m"}, 422, "spec-malformed", "labels"),
    "a spec and a name": ({"spec": b"{}"}, {"name": "m"}, 422, "usage", "name"),
    "a spec that is none": ({"spec": b"{}"}, {}, 422, "spec-malformed", "type"),
    "a model that is served": ({}, {"name": "bmi"}, 409, "model-exists", "version"),
}  # fmt: skip


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("case", BAD)
def test_a_bad_upload_is_refused(client: httpx.Client, case: str) -> None:
    """Each mistake has the code that ``verinfer compile`` has for it, names the part, and leaves nothing."""
    files, texts, *expected = BAD[case]
    status, code, field = _code(_post(client, files, **texts))
    assert [status, code, field] == expected


def _external() -> bytes:
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[1, 3], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="/etc/passwd")
    return _model(helper.make_node("Add", ["x", "w"], ["y"]), tensors=(tensor,))


def _nan() -> bytes:
    weights = numpy_helper.from_array(np.array([[1, np.nan, 1]], np.float32), "w")
    return _model(helper.make_node("Add", ["x", "w"], ["y"]), tensors=(weights,))


def _function() -> bytes:
    opset = helper.make_opsetid("", 17)
    body = helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [opset])
    return _model(helper.make_node("F", ["x"], ["y"], domain="own"), functions=[body])


def _nested() -> bytes:
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["o"])], "b", [], [])
    return _model(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "no ONNX file": lambda: b"PK\x03\x04 hello",
    "external data": _external,
    "a weight that is NaN": _nan,
    "a local function": _function,
    "graphs inside nodes": _nested,
    "another domain": lambda: _model(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")),
    "absurd dimensions": lambda: _model(shape=[1, 10**9]),
}
"""One of each kind; `tests/unit/circuits/test_onnx.py` has the rest, for the same two functions."""


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_model_is_refused_before_it_is_queued(client: httpx.Client, case: str) -> None:
    """The checks of the compiler are reached by an upload: one code, a reason, and no job."""
    response = _post(client, {"model": HOSTILE[case]()}, name="m")
    assert _code(response)[:2] == (422, "model-refused")
    assert response.json()["detail"].startswith("The model is refused: ")


@pytest.mark.usefixtures("untouched")
def test_a_hostile_model_with_a_spec_is_refused(client: httpx.Client, quick: Path) -> None:
    """The way with a spec has another check of the model, which is reached, too; and a spec of another model is none."""
    spec = json.loads((quick / "spec.json").read_text())
    other = json.dumps({**spec, "version": "9"}).encode()
    assert _code(_post(client, {"spec": other})) == (422, "model-refused", "model")
    model = _nan()
    fitting = json.dumps({**spec, "version": "9", "onnx": sha256(model)}).encode()
    response = _post(client, {"model": model, "spec": fitting})
    assert _code(response)[:2] == (422, "model-refused")
    assert "NaN" in response.json()["detail"]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("application/octet-stream", MODEL),
        ("multipart/form-data", b"--x--"),
        ("multipart/mixed; boundary=x", b"--x--\r\n"),
        (f"multipart/form-data; boundary={'x' * 71}", b""),
    ],
)
def test_only_forms_are_read(client: httpx.Client, content_type: str, body: bytes) -> None:
    """Another media type is refused before the body is looked at."""
    response = client.post(MODELS, content=body, headers={"content-type": content_type})
    assert _code(response) == (415, "media-type-unsupported", "Content-Type")


PART = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nm\r\n'


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"--y--\r\n",
        PART,
        PART + b"--x",
        PART + PART + b"--x--\r\n",
        b"--x\r\nContent-Disposition: attachment; name=\"name\"\r\n\r\nm\r\n--x--\r\n",
        b"--x\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nbQ==\r\n--x--\r\n",
        b"--x\r\nContent-Disposition: form-data; name=\"" + b"n" * 9000 + b"\"\r\n\r\nm\r\n--x--\r\n",
        b"--x\r\n" + b"A: b\r\n" * 5000 + b"\r\nm\r\n--x--\r\n",
        b"--x\r\n\r\nm\r\n--x--\r\n",
        b"--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\n\xff\r\n--x--\r\n",
    ],
    ids=["nothing", "text", "another boundary", "no end", "half an end", "a part twice", "no form-data", "base64",
         "a long header", "many headers", "no header", "no UTF-8"],
)  # fmt: skip
def test_a_broken_form_is_refused(client: httpx.Client, body: bytes) -> None:
    """Whatever is not a whole form of known parts, each once."""
    response = client.post(MODELS, content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert _code(response)[:2] == (400, "request-malformed")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_over_the_limit_is_refused(client: httpx.Client, *, chunked: bool) -> None:
    """Whether its length was declared, and then before the body is read, or not."""
    start = b'--x\r\nContent-Disposition: form-data; name="samples"\r\n\r\n'
    body = start + bytes(LIMIT)
    headers = {"content-type": "multipart/form-data; boundary=x"}
    content: Any = iter([body[:100_000], body[100_000:]]) if chunked else body
    assert _code(client.post(MODELS, content=content, headers=headers)) == (413, "too-large", "body")


@pytest.mark.usefixtures("untouched")
def test_a_torn_upload_leaves_nothing(client: httpx.Client) -> None:
    """A client that goes away in the middle of a file."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
        connection.sendall(
            b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + bytes(50_000)
        )
        time.sleep(0.2)


@pytest.mark.usefixtures("untouched")
def test_an_upload_that_does_not_come_is_not_waited_for(client: httpx.Client) -> None:
    """A client that stops sending is told so, and its files are gone."""

    def slowly() -> Iterator[bytes]:
        yield PART
        time.sleep(BODY_SECONDS + 0.5)
        yield b"--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = client.post(MODELS, content=slowly(), headers=headers)
    assert _code(response)[:2] == (408, "body-too-slow")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
def test_a_web_page_cannot_upload(client: httpx.Client, headers: dict[str, str]) -> None:
    """A browser sends a page's form to any address, loopback too, and says that it did."""
    assert _code(_post(client, name="m", headers=headers))[:2] == (403, "origin-refused")


def test_a_name_is_taken_once(client: httpx.Client, resources: Resources) -> None:
    """From the moment its build is queued; the refusal names the job that has it, and leaves nothing."""
    job = _post(client, name="twice").json()["id"]
    before = sorted(resources.folder.uploads.iterdir())
    response = _post(client, name="twice")
    assert _code(response) == (409, "model-exists", "version")
    assert job in response.json()["detail"]
    assert sorted(resources.folder.uploads.iterdir()) == before
    assert _post(client, name="twice", version="2").status_code == 202


def test_an_idempotency_key_leads_to_the_same_build(client: httpx.Client, resources: Resources) -> None:
    """The same upload, in another form of the same parts, makes no second job; another one with the key is refused."""
    headers = {"Idempotency-Key": "upload-1"}
    first, second = (_post(client, name="once", headers=headers).json()["id"] for _ in range(2))
    assert first == second
    assert len([path for path in resources.folder.uploads.iterdir() if path.name == first]) == 1
    other = _post(client, name="once-more", headers=headers)
    assert _code(other) == (422, "idempotency-key-reused", "Idempotency-Key")
    bad = _post(client, name="m", headers={"Idempotency-Key": "with space"})
    assert _code(bad)[:2] == (400, "idempotency-key-malformed")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"allow_uploads": False}, 403, "uploads-off"),
        ({"store_bytes": 10}, 507, "store-full"),
        ({"free_bytes": 1 << 60}, 507, "disk-full"),
        ({"build_queue_limit": 1}, 503, "queue-full"),
    ],
)
def test_an_operators_limits_hold(
    tmp_path: Path, serve: Serve, changes: dict[str, Any], status: int, code: str
) -> None:
    """Uploads are off unless allowed; stored bytes, bytes left on the disk, and waiting builds are bounded."""
    settings = Settings(**{"data": tmp_path, "allow_uploads": True, "free_bytes": 0, **changes})
    with open_resources(settings) as resources, serve(resources) as client:
        shown = client.get("/.well-known/verinfer.json").json()["most_upload_bytes"]
        assert shown == (settings.upload_bytes if settings.allow_uploads else 0)
        if code == "queue-full":
            assert _post(client, name="first").status_code == 202
        assert _code(_post(client, name="m"))[:2] == (status, code)
        assert len(list((tmp_path / "uploads").iterdir())) == (code == "queue-full")


def _built(resources: Resources, package: Path) -> str:
    """Have a build succeed with a copy of `package`, and give its job."""
    builds, now = resources.builds, time.time()
    lease = builds.lease(now=now, until=now + 60)
    assert lease is not None
    shutil.copytree(package, resources.folder.models / lease.job)
    builds.succeed(lease, "c" * 64, now=now)
    return lease.job


def test_a_built_package_is_served_at_once_and_after_a_restart(
    tmp_path: Path, bmi_package: Package, serve: Serve
) -> None:
    """Without a restart; one that was damaged is not served, and no other with it; one that was removed leaves its name."""
    settings = Settings(data=tmp_path, allow_uploads=True, free_bytes=0)
    with open_resources(settings) as resources, serve(resources) as client:
        assert client.get("/v2/models/bmi").status_code == 404
        assert _post(client, name="bmi").status_code == 202
        job = _built(resources, bmi_package.folder)
        assert client.get(f"/v1/jobs/{job}").json()["served"] == "/v1/models/bmi/versions/1"
        assert client.get("/v2/models/bmi").json()["versions"] == ["1"]
        srs = client.get("/v1/models/bmi/versions/1/srs")
        assert srs.content == bmi_package.path("kzg.srs").read_bytes()
        assert _code(_post(client, name="bmi"))[:2] == (409, "model-exists")
        _post(client, name="torn")
        torn = _built(resources, bmi_package.folder)
        (resources.folder.models / torn / "pk.key").write_bytes(b"other")
        assert [item["name"] for item in client.get(MODELS).json()["models"]] == ["bmi"]
    with open_resources(settings) as resources, serve(resources) as client:
        assert client.get("/v2/models/bmi/versions/1").status_code == 200
    given = settings.model_copy(update={"packages": (bmi_package.folder,)})
    with open_resources(given) as resources:
        assert [package.folder for package in resources.catalogue] == [bmi_package.folder]
    shutil.rmtree(tmp_path / "models" / job)
    with open_resources(settings) as resources, serve(resources) as client:
        assert client.get("/v2/models/bmi").status_code == 404
        assert _post(client, name="bmi").status_code == 202


def test_what_a_crash_left_is_swept(resources: Resources) -> None:
    """Of uploads and packages those stay whose jobs need them."""
    folder = resources.folder
    needed = {path.name for path in folder.uploads.iterdir()} & resources.builds.unfinished()
    for home in (folder.uploads, folder.models):
        for name in (".torn", "0" * 32):
            (home / name).mkdir()
            (home / name / "network.onnx").write_bytes(b"half")
    storage.sweep(folder, resources.builds)
    assert {path.name for path in folder.uploads.iterdir()} == needed
    assert list(folder.models.iterdir()) == []
