from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest

from verinfer.circuits.package import Package

from .conftest import NONCE, Server, arguments, command, parent


def verinfer(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of verinfer."""
    return subprocess.run(
        [sys.executable, "-m", "verinfer.verifier", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_proven_answer_over_http_is_verified_offline(
    server: Server, bmi_package: Package, tmp_path: Path
) -> None:
    """One POST gives the outputs and a receipt that another process verifies from pins alone; no secret is logged."""
    response = server.infer()
    assert response.status_code == 200
    body = response.json()
    receipt, digest = body["parameters"]["receipt"], body["parameters"]["receipt_digest"]
    fetched = server.get(f"/v1/receipts/{digest}")
    assert (fetched.text, fetched.headers["verinfer-proof-state"]) == (receipt, "ready")
    state = server.job(body["parameters"]["job"])
    assert (state["status"], state["progress"], state["receipt_digest"]) == ("succeeded", 1.0, digest)
    assert server.stop() == 0

    (tmp_path / "receipt.json").write_text(receipt)
    made = verinfer(
        "policy", "init", bmi_package.folder, "--issuer", server.data / "service.pub.pem",
        "--out", tmp_path / "policy.json", "--allow-insecure-srs",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    checked = verinfer(
        "verify", tmp_path / "receipt.json", "--policy", tmp_path / "policy.json", "--nonce", NONCE, "--json"
    )
    assert checked.returncode == 0, checked.stderr
    verdict = json.loads(checked.stdout)
    assert verdict["statement_digest"] == digest
    assert "computed-by-circuit" in verdict["claims"]
    assert body["outputs"][0]["name"] == verdict["outputs"][0]["name"]

    log = server.log.read_text()
    secret = server.data.joinpath("service.pem").read_text().splitlines()[1]
    assert not [word for word in (NONCE, secret, "0.25") if word in log]
    assert all(json.loads(line)["message"] for line in log.splitlines())


def test_an_unusual_input_is_told_where_it_does_not_fit(common: Server, bmi_package: Package) -> None:
    """Nothing is proven of it; problem and job name the layer in which a value leaves the circuit's range."""
    tensor = bmi_package.manifest.tensors("input")[0]
    largest = (bmi_package.manifest.proof_system.bound - 1) / 2.0**tensor.scale
    response = common.infer(sample=(largest, largest, largest))
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "value-out-of-range")
    state = common.job(problem["job"])
    assert (state["status"], state["code"]) == ("failed", "value-out-of-range")
    for said in (problem["detail"], state["detail"]):
        assert "layer" in said
        assert "gemm" in said
    assert common.infer().status_code == 200


def test_progress_can_be_watched(common: Server) -> None:
    """Server-sent events show a job from its phases to its end."""
    job = common.submit()
    seen: list[dict[str, Any]] = []
    with common.http.stream("GET", f"/v1/jobs/{job}/events") as events:
        seen += [
            json.loads(line.removeprefix("data: "))
            for line in events.iter_lines()
            if line.startswith("data: ")
        ]
    assert seen[-1]["status"] == "succeeded"
    assert {"computing", "verifying"} <= {state.get("phase") for state in seen}
    progress = [state["progress"] for state in seen]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_a_killed_server_finishes_its_job_once(server: Server) -> None:
    """After ``kill -9`` in a proof no child lives on; the restarted server finishes the same statement, once."""
    job = server.submit()
    server.proving_child()
    children = server.children()
    [(statement,)] = server.rows("SELECT statement FROM jobs")
    assert statement is not None
    server.stop(signal.SIGKILL)
    server.until(lambda: not any(map(arguments, children)), seconds=5)

    server.start()
    state = server.ended(job)
    assert state["status"] == "succeeded"
    assert server.rows("SELECT statement FROM jobs") == [(statement,)]
    assert server.rows("SELECT digest FROM receipts") == [(state["receipt_digest"],)]
    assert server.rows("SELECT token FROM jobs") == [(2,)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_silent_supervisor_is_replaced(stopped: Server, how: signal.Signals) -> None:
    """The server lives on without its supervisor, starts another, and the job still ends well."""
    server = stopped
    server.start(VERINFER_HEARTBEAT_SECONDS="0.5")
    job = server.submit()
    child = server.proving_child()
    os.kill(parent(child), how)
    server.until(lambda: server.get("/v2/health/ready").status_code == 503, seconds=10)
    assert server.get("/v2/health/live").status_code == 200
    assert server.ended(job)["status"] == "succeeded"
    assert not arguments(child)
    assert server.get("/v2/health/ready").status_code == 200


def test_queued_jobs_outlive_a_restart(server: Server) -> None:
    """What was accepted is done, although the server was stopped in between, and no child lived on."""
    jobs = [server.submit() for _ in range(3)]
    server.proving_child()
    children = server.children()
    assert server.stop(signal.SIGINT) == 0
    server.until(lambda: not any(map(arguments, children)), seconds=5)
    server.start()
    assert [server.ended(job)["status"] for job in jobs] == ["succeeded"] * 3


def test_a_stopping_server_does_not_leave_anybody_waiting(server: Server) -> None:
    """Who waits for a proof is told the job and sent home; the job goes on after the restart."""
    server.submit()
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(server.infer(headers={"Prefer": "wait=60"})))
    waiting.start()
    server.until(lambda: server.rows("SELECT count(*) FROM jobs") == [(2,)], seconds=10)
    time.sleep(0.2)  # until it waits: nothing outside the server shows that moment
    assert server.stop() == 0
    waiting.join()
    assert answers[0].status_code == 202
    server.start()
    assert server.ended(answers[0].json()["parameters"]["job"])["status"] == "succeeded"


def test_cancelling_frees_the_machine(server: Server) -> None:
    """A running proof is stopped at once, and the next job runs."""
    job = server.submit()
    child = server.proving_child()
    started = time.monotonic()
    response = server.http.delete(f"/v1/jobs/{job}")
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert time.monotonic() - started < 2
    assert not arguments(child)
    assert server.rows("SELECT inputs FROM jobs") == [(None,)]
    assert list((server.data / "work").iterdir()) == []
    assert server.infer().status_code == 200


def test_a_killed_prover_fails_its_job_and_no_other(server: Server) -> None:
    """As when the machine runs out of memory: the job has a code, the server lives, the next job runs."""
    job = server.submit()
    os.kill(server.proving_child(), signal.SIGKILL)
    state = server.ended(job)
    assert (state["status"], state["code"]) == ("failed", "child-killed")
    assert server.infer().status_code == 200


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("VERINFER_PROVE_MEMORY_BYTES", str(80 << 20), "child-out-of-memory"),
        ("VERINFER_PROVE_SECONDS", "0.2", "child-out-of-time"),
    ],
)
def test_a_prover_beyond_its_limits_fails(stopped: Server, setting: str, value: str, code: str) -> None:
    """Memory and time are bounded; the client who waits gets the code, and the server goes on answering."""
    stopped.start(**{setting: value})
    response = stopped.infer()
    assert (response.status_code // 100, response.json()["code"]) == (5, code)
    assert stopped.job(response.json()["job"])["code"] == code
    assert stopped.infer(mode="none").status_code == 200


def test_one_data_folder_has_one_server(common: Server) -> None:
    """A second server says who is in the way, and the first goes on."""
    second = subprocess.run(
        command(common.package, common.data), check=False, capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 4
    assert "data-dir-in-use" in second.stderr
    assert "Traceback" not in second.stderr
    assert common.infer(mode="none").status_code == 200


def test_the_same_key_at_once_makes_one_job(common: Server) -> None:
    """Twenty equal requests at the same moment are one proof."""
    found: list[str] = []

    def ask() -> None:
        with httpx.Client(base_url=common.http.base_url, timeout=60.0) as http:
            one = Server(common.package, common.data, common.log, http=http)
            response = one.infer(headers={"Idempotency-Key": "k", "Prefer": "respond-async"})
            found.append(response.json()["parameters"]["job"])

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found))) == (20, 1)
    assert common.ended(found[0])["status"] == "succeeded"


def test_small_answers_come_at_once(common: Server) -> None:
    """On a kept connection no answer waits for the other side's delayed acknowledgement, which takes 40 ms."""
    times = []
    for _ in range(30):
        started = time.perf_counter()
        common.get("/v2/health/live")
        times.append(time.perf_counter() - started)
    assert median(times) < 0.03


def test_the_service_key_stays(server: Server) -> None:
    """Made on first start, private, and the same after a restart."""
    assert (server.data / "service.pem").stat().st_mode & 0o777 == 0o600
    assert server.data.stat().st_mode & 0o777 == 0o700
    before = server.get("/.well-known/verinfer.json").json()["keys"]
    server.stop()
    server.start()
    assert server.get("/.well-known/verinfer.json").json()["keys"] == before
