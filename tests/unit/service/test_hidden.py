"""The calls of a service whose circuit hashes its input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from verinfer.circuits.package import Package
from verinfer.service.parts import open_resources
from verinfer.service.settings import Settings

from .conftest import Serve

NONCE, SALT = "5a" * 32, "5b" * 32


@pytest.fixture(scope="module")
def client(
    hashed_package: Package, serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Such a service, without a supervisor."""
    data = tmp_path_factory.mktemp("data")
    settings = Settings(packages=(hashed_package.folder,), data=data, wait_default=0)
    with open_resources(settings) as resources, serve(resources) as opened:
        yield opened


def _ask(client: httpx.Client, **parameters: str) -> httpx.Response:
    tensor = {"name": "habits", "shape": [1, 3], "datatype": "FP32", "data": [0.5, -0.25, 1.0]}
    return client.post("/v2/models/bmi/infer", json={"inputs": [tensor], "parameters": parameters})


REFUSED: dict[str, tuple[dict[str, str], int, str, str]] = {
    "no salt": ({"mode": "zk", "nonce": NONCE}, 422, "salt-missing", "parameters.salt"),
    "half a salt": (
        {"mode": "zk", "nonce": NONCE, "salt": SALT[:32]},
        422,
        "salt-malformed",
        "parameters.salt",
    ),
    "a salt in capitals": (
        {"mode": "zk", "nonce": NONCE, "salt": SALT.upper()},
        422,
        "salt-malformed",
        "parameters.salt",
    ),
    "an answer without a proof": ({"mode": "none"}, 501, "mode-unsupported", "parameters.mode"),
    "the same with a salt": ({"salt": SALT}, 501, "mode-unsupported", "parameters.mode"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_not_hide_the_input_is_refused(client: httpx.Client, case: str) -> None:
    """A hash without a salt can be guessed, and an answer by onnxruntime names its input."""
    parameters, status, code, field = REFUSED[case]
    answer = _ask(client, **parameters)
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (status, code, field)
    assert SALT not in answer.text


def test_a_salt_makes_a_job(client: httpx.Client) -> None:
    """With one there is work to do; what is queued says nothing of it."""
    answer = _ask(client, mode="zk", nonce=NONCE, salt=SALT)
    assert answer.status_code == 202
    assert SALT not in answer.text + client.get(answer.headers["Location"]).text


def test_clients_hear_what_is_hidden(client: httpx.Client) -> None:
    """The model's entry says that its inputs are hashed, and which modes are left."""
    entry = client.get("/v1/models/bmi").json()
    assert (entry["inputs"], entry["modes"]) == ("hashed", ["zk", "proof"])
