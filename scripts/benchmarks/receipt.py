"""The suite ``receipt``: what a proven answer costs to make and to check.

For each model, in one run: the bare proving call in a fresh process, by turns with the whole way through the service; the
command line's verification, cold; the library's, warm, with a child in waiting.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from verinfer.circuits.compile import compile_model
from verinfer.circuits.native import Workplace, heavy_limits
from verinfer.circuits.package import Package
from verinfer.circuits.prove import prover_for
from verinfer.service.demo import serving
from verinfer.verifier import client, files, numbers, preprocess
from verinfer.verifier.bundle import BundleFolder
from verinfer.verifier.evidence import EZKL_KIND
from verinfer.verifier.ezkl_proof import EzklCheck, WaitingChildren
from verinfer.verifier.instances import to_field_hex
from verinfer.verifier.policy import parse_policy
from verinfer.verifier.samples import read_sample
from verinfer.verifier.verify import Expect, verify

from .measure import repeat, repeat_in_pairs

ZOO = Path(__file__).parents[2] / "models" / "zoo"

REPEATS = {"bmi": 9, "breast_cancer": 9, "digits": 9, "lenet": 3}
"""How often each model is proven each way."""


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
    args = package.manifest.proof_system.run_args
    bare = _bare_prover(package, home)
    with serving(package.folder, home) as url, httpx.Client(base_url=url, timeout=60.0) as http:
        _verinfer(
            "policy", "init", package.folder, "--issuer", home / "service.pub.pem", "--out", home / "policy.json",
            "--allow-insecure-srs",
        )  # fmt: skip
        say(f"{name}: proving, bare and through the service by turns, {REPEATS[name]} times each")
        answers: list[client.Answer] = []
        through_service = _asker(http, package, answers)
        bare_samples, service_samples = repeat_in_pairs(bare, through_service, REPEATS[name])
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
        warm = repeat(lambda: _verify(home, answers[-1], EzklCheck(children)), 30, warm_up=3)
    finally:
        children.close()
    return {
        "logrows": args.logrows,
        "proof_bytes": package.manifest.proof_system.proof_bytes,
        "bare_prove": bare_samples.to_json(),
        "service": service_samples.to_json(),
        "service_over_bare": service_samples.median / bare_samples.median,
        "service_added_seconds": service_samples.median - bare_samples.median,
        "verify_cold": cold.to_json(),
        "verify_warm": warm.to_json(),
    }


def _bare_prover(package: Package, home: Path) -> Callable[[], object]:
    """Only `ezkl.prove`, in a fresh process of its own, on a witness that is made once."""
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
        tables=package.manifest.proof_system.run_args.lookup_range,
    )
    assert prover_for(package.manifest).kind == EZKL_KIND
    return lambda: place.ezkl(
        "prove",
        witness=witness,
        compiled=package.path("model.compiled"),
        pk=package.path("pk.key"),
        proof=scratch / "proof.json",
        srs=package.path("kzg.srs"),
    )


def _asker(http: httpx.Client, package: Package, answers: list[client.Answer]) -> Callable[[], object]:
    model, spec = package.manifest.model.name, package.manifest.inputs[0]
    raw = read_sample(ZOO / model / "sample.json", [spec])
    inputs = package.manifest.inputs

    def ask() -> None:
        answers.append(client.ask(http, model, inputs, raw, mode="zk", nonce=client.make_nonce()))

    return ask


def _verify(home: Path, answer: client.Answer, check: EzklCheck) -> None:
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
