"""The suite ``receipt``: what a proven answer costs to make and to check.

For each model, in one run: EZKL's proving call alone, by turns with the whole way through the service, which is one POST that
waits; the command line's verification, cold; EZKL's checking call alone, by turns with the library's verification, warm, with
a child in waiting; and the library's where each check follows the last at once, and waits for its child to start.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from verinfer.circuits.compile import compile_model
from verinfer.circuits.native import EZKL, Workplace, heavy_limits
from verinfer.circuits.package import Package
from verinfer.circuits.provers import prover_for
from verinfer.service.demo import serving
from verinfer.verifier import client, files, numbers, preprocess
from verinfer.verifier.bundle import BundleFolder
from verinfer.verifier.child import Child
from verinfer.verifier.evidence import EZKL_KIND
from verinfer.verifier.ezkl_proof import EzklCheck, WaitingChildren
from verinfer.verifier.instances import to_field_hex
from verinfer.verifier.policy import parse_policy
from verinfer.verifier.samples import read_sample
from verinfer.verifier.statement import Mode
from verinfer.verifier.verify import Expect, verify

from .measure import Samples, repeat, seconds

ZOO = Path(__file__).parents[2] / "models" / "zoo"

REPEATS = {"bmi": 9, "breast_cancer": 9, "digits": 9, "lenet": 4}
"""How often each model is proven each way, after one round that does not count."""

REST_SECONDS = 1.0
"""Before each proof: the service gets its next children ready after an answer, and that must not slow down the other side."""


WARM_REST_SECONDS = 0.3
"""Before each warm check, in which the next child starts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A receipt and the nonce that it answers."""

    receipt: bytes
    nonce: str


def run(models: list[str], say: Callable[[str], None]) -> dict[str, Any]:
    """Measure every model; gives the cases of the results file."""
    with tempfile.TemporaryDirectory(prefix="verinfer-bench-") as directory:
        return {name: _model(name, Path(directory) / name, say) for name in models}


def _model(name: str, home: Path, say: Callable[[str], None]) -> dict[str, Any]:
    home.mkdir()
    say(f"{name}: compiling")
    package = compile_model(
        ZOO / name, home / "package", srs=None, insecure_srs=True, on_progress=lambda _phase, _share: None
    )
    args = package.manifest.ezkl.run_args
    bare = _bare_prover(package, home)
    with serving(package.folder, home) as url, httpx.Client(base_url=url, timeout=150.0) as http:
        _verinfer(
            "policy", "init", package.folder, "--issuer", home / "service.pub.pem", "--out", home / "policy.json",
            "--allow-insecure-srs",
        )  # fmt: skip
        say(f"{name}: proving, bare and through the service by turns, {REPEATS[name]} times each")
        answers: list[Answer] = []
        through_service = asker(http, package, answers)
        bare_samples, service_samples = _by_turns(bare, through_service, REPEATS[name], REST_SECONDS)
    say(f"{name}: verifying")
    files.write_atomically(home / "receipt.json", answers[-1].receipt)
    nonce = answers[-1].nonce
    cold = repeat(
        lambda: _verinfer(
            "verify", home / "receipt.json", "--policy", home / "policy.json", "--nonce", nonce
        ),
        15,
    )
    children = WaitingChildren()
    try:
        check = partial(_verify, home, answers[-1], EzklCheck(children))
        with _bare_checker(package, home) as bare_check:
            bare_checks, warm = _by_turns(bare_check, partial(seconds, check), 30, WARM_REST_SECONDS)
        in_a_row = repeat(check, 30, warm_up=3)
    finally:
        children.close()
    return {
        "logrows": args.logrows,
        "proof_bytes": package.manifest.ezkl.proof_bytes,
        "bare_prove": bare_samples.to_json(),
        "service": service_samples.to_json(),
        "service_over_bare": service_samples.median / bare_samples.median,
        "service_added_seconds": service_samples.median - bare_samples.median,
        "verify_cold": cold.to_json(),
        "bare_verify": bare_checks.to_json(),
        "verify_warm": warm.to_json(),
        "warm_over_bare": warm.median / bare_checks.median,
        "verify_in_a_row": in_a_row.to_json(),
    }


def _by_turns(
    left: Callable[[], float], right: Callable[[], float], times: int, rest: float
) -> tuple[Samples, Samples]:
    """The seconds of two kinds of work, so that a slow moment of the machine meets both; one round more does not count.

    Each comes first every other time: a processor that has just worked hard is slower. `rest`: seconds before each.
    """
    taken: dict[int, list[float]] = {0: [], 1: []}
    for number in range(times + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            time.sleep(rest)
            taken[side].append((left, right)[side]())
    return Samples("s", tuple(taken[0][1:])), Samples("s", tuple(taken[1][1:]))


def _bare_prover(package: Package, home: Path) -> Callable[[], float]:
    """The seconds of `ezkl.prove` alone, without the fresh process that it runs in, on a witness that is made once."""
    scratch = home / "bare"
    scratch.mkdir()
    place = Workplace(directory=scratch, limits=heavy_limits())
    spec, tensor = package.manifest.inputs[0], package.manifest.tensors("input")[0]
    raw = read_sample(ZOO / package.manifest.model.name / "sample.json", [spec])[spec.name]
    bound = package.manifest.proof_system.bound
    values = [
        numbers.quantise(value, tensor.scale, bound=bound, field=spec.name)
        for value in preprocess.to_input(spec, raw)
    ]
    data, witness = scratch / "input.json", scratch / "witness.json"
    fields = [[to_field_hex(value) for value in values], [to_field_hex(0)] * 16]
    data.write_text(json.dumps({"input_data": fields}))
    place.ezkl(
        "gen_witness",
        data=data,
        compiled=package.path("model.compiled"),
        witness=witness,
        tables=package.manifest.ezkl.run_args.lookup_range,
    )
    assert prover_for(package.manifest).kind == EZKL_KIND

    def prove() -> float:
        cost = place.ezkl(
            "prove",
            witness=witness,
            compiled=package.path("model.compiled"),
            pk=package.path("pk.key"),
            proof=scratch / "proof.json",
            srs=package.path("kzg.srs"),
        )
        return float(cost["seconds"])

    return prove


@contextmanager
def _bare_checker(package: Package, home: Path) -> Iterator[Callable[[], float]]:
    """The seconds of `ezkl.verify` alone, in one process that has EZKL loaded, of the last proof of `_bare_prover`."""
    scratch = home / "bare"
    arguments = {
        "proof": str(scratch / "proof.json"),
        **{
            name: str(package.path(f"verify/{file}"))
            for name, file in (("settings", "settings.json"), ("vk", "vk.key"), ("srs", "kzg1.srs"))
        },
    }
    checker = Child(EZKL, limits=heavy_limits(), directory=scratch)

    def check() -> None:
        assert checker.ask("verify", arguments, seconds=60) is True

    try:
        yield partial(seconds, check)
    finally:
        checker.close()


def asker(
    http: httpx.Client, package: Package, answers: list[Answer], mode: Mode = "zk"
) -> Callable[[], float]:
    """The seconds of one question, from the request to the receipt; what it gave goes to `answers`."""
    model, specs = package.manifest.model.name, package.manifest.inputs
    raw = read_sample(ZOO / model / "sample.json", specs)
    tensors = [
        {
            "name": spec.name,
            "shape": list(spec.shape),
            "datatype": spec.dtype,
            "data": preprocess.to_input(spec, raw[spec.name]),
        }
        for spec in specs
    ]

    def ask() -> float:
        nonce = client.make_nonce()
        body = {"inputs": tensors, "parameters": {"mode": mode, "nonce": nonce}}
        started = time.perf_counter()
        response = http.post(f"/v2/models/{model}/infer", json=body, headers={"Prefer": "wait=120"})
        taken = time.perf_counter() - started
        assert response.status_code == 200, response.text
        answers.append(Answer(response.json()["parameters"]["receipt"].encode(), nonce))
        return taken

    return ask


def _verify(home: Path, answer: Answer, check: EzklCheck) -> None:
    verify(
        answer.receipt,
        policy=parse_policy((home / "policy.json").read_bytes()),
        now=datetime.now(UTC),
        expect=Expect(nonce=answer.nonce),
        bundles=BundleFolder(home / "bundles"),
        proof_systems={EZKL_KIND: check},
    )


def _verinfer(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "verinfer.verifier", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
