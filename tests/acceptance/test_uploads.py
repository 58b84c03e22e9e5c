"""A model is uploaded to a real server, built there, checked by its owner, and asked; what kills the server loses nothing."""

from __future__ import annotations

import json
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ..command import verinfer
from .conftest import NONCE, Server, arguments

SETTINGS = {
    "VERINFER_ALLOW_UPLOADS": "true",
    "VERINFER_BUILD_INSECURE_SRS": "true",
    # The other tests run beside.
    "VERINFER_BUILD_NICE": "0",
    "VERINFER_FREE_BYTES": "0",
}


@pytest.fixture
def builder(stopped: Server) -> Server:
    """A running server that takes uploads."""
    stopped.start(**SETTINGS)
    return stopped


def said(*words: str | Path, home: Path) -> str:
    """What a command prints, which must succeed."""
    done = verinfer(*words, home=home)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def upload(server: Server, model: Path) -> str:
    """Upload the model under another name, as ``curl --form`` would, and give its job."""
    files = {
        name: (model / path).read_bytes()
        for name, path in (("model", "network.onnx"), ("samples", "samples.npz"))
    }
    response = server.http.post("/v1/models", files=files, data={"name": "mine", "task": "regression"})
    assert response.status_code == 202, response.text
    job: str = response.json()["id"]
    return job


def until_phase(server: Server, job: str, *phases: str) -> dict[str, Any]:
    """The job's state once it is in one of these phases."""
    server.until(lambda: server.job(job).get("phase") in phases, seconds=80)
    return server.job(job)


def families(server: Server) -> list[int]:
    """The processes of builds that were written down, and all that they have started."""
    found = [int(path.name) for path in (server.data / "builders").iterdir()]
    for process in Path("/proc").iterdir():
        try:
            stat = (process / "stat").read_text()
        except OSError:
            continue
        if process.name.isdigit() and int(stat.rpartition(")")[2].split()[1]) in found:
            found.append(int(process.name))
    return found


def test_an_owner_uploads_checks_and_hands_out(builder: Server, quick: Path, tmp_path: Path) -> None:
    """One command builds; the commands that it names show that it is the owner's model; clients then get proven answers."""
    told = said(
        "upload", quick / "network.onnx", "--data", quick / "samples.npz", "--name", "mine", "--task", "regression",
        "--target", "error<=0.05", "--url", str(builder.http.base_url), "--out", "mine", "--json", home=tmp_path,
    )  # fmt: skip
    outcome = json.loads(told)
    assert (outcome["model"], outcome["version"], outcome["srs"]) == ("mine", "1", "insecure-local")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"verify", "kzg.srs", "service.pub.pem"}
    state = builder.job(outcome["job"])
    assert (state["status"], state["progress"], state["circuit"]) == ("succeeded", 1.0, outcome["circuit"])

    reproduce, *policy = (shlex.split(step)[1:] for step in outcome["next"])
    checked = json.loads(said(*reproduce, "--json", home=tmp_path))
    assert (checked["circuit"], checked["own_samples"], checked["meaning_compared"]) == (
        outcome["circuit"],
        True,
        True,
    )
    for step in policy:
        said(*step, home=tmp_path)

    served = {model["name"]: model for model in builder.get("/v1/models").json()["models"]}
    assert set(served) == {"bmi", "mine"}
    assert served["mine"]["circuit"] == outcome["circuit"]
    for part in ("card", "card.html", "manifest", "bundle/vk.key", "srs"):
        assert builder.get(f"/v1/models/mine/{part}").status_code == 200
    tensor = {"name": "habits", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -0.25, 1.0]}
    body = {"inputs": [tensor], "parameters": {"mode": "none", "nonce": NONCE}}
    assert builder.http.post("/v2/models/mine/infer", json=body).status_code == 200
    (tmp_path / "sample.json").write_text('{"habits": [0.5, -0.25, 1.0]}')
    answer = said(
        "infer", "sample.json", "--policy", "policy.json", "--owner", "owner.pub.pem",
        "--url", str(builder.http.base_url), "--json", home=tmp_path,
    )  # fmt: skip
    assert "computed-by-model" in json.loads(answer)["claims"]
    assert list((builder.data / "uploads").iterdir()) == []
    log = builder.log.read_text()
    assert "Traceback" not in log
    assert all(json.loads(line)["message"] for line in log.splitlines())


def test_a_killed_server_finishes_its_build_once(builder: Server, quick: Path) -> None:
    """After ``kill -9`` nothing lives on; the restarted server goes on with the build, and its model is served."""
    job = upload(builder, quick)
    until_phase(builder, job, "fidelity", "circuit", "srs", "setup")
    processes = families(builder)
    assert any(b"service.builder" in arguments(pid) for pid in processes)
    builder.stop(signal.SIGKILL)
    builder.until(lambda: not any(map(arguments, processes)), seconds=5)
    assert list((builder.data / "models").iterdir()) == []
    assert [path.name for path in (builder.data / "uploads").iterdir()] == [job]

    builder.start(**SETTINGS)
    builder.until(lambda: builder.job(job)["status"] not in ("queued", "running"), seconds=80)
    state = builder.job(job)
    assert (state["status"], state["model"]) == ("succeeded", "mine")
    assert builder.rows("SELECT token FROM jobs") == [(2,)]
    assert [path.name for path in (builder.data / "models").iterdir()] == [job]
    assert builder.get("/v1/models/mine").json()["circuit"] == state["circuit"]
    builder.until(lambda: not list((builder.data / "uploads").iterdir()), seconds=5)
    assert list((builder.data / "work").iterdir()) == []


def test_a_build_holds_up_no_proof_and_can_be_cancelled(builder: Server, quick: Path) -> None:
    """A proof is made beside it; a cancelled build ends within two seconds, leaves nothing, and its name is free."""
    job = upload(builder, quick)
    until_phase(builder, job, "adopt", "estimate")
    assert builder.infer().status_code == 200
    assert builder.job(job)["status"] == "running"
    processes = families(builder)
    started = time.monotonic()
    response = builder.http.delete(f"/v1/jobs/{job}")
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert time.monotonic() - started < 2
    builder.until(lambda: not any(map(arguments, processes)), seconds=2)
    for folder in ("uploads", "models", "work"):
        builder.until(lambda folder=folder: not list((builder.data / folder).iterdir()), seconds=2)  # type: ignore[misc]  # mypy infers no type for a default of a lambda
    again = upload(builder, quick)
    builder.http.delete(f"/v1/jobs/{again}")
