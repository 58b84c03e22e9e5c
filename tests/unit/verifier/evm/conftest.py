"""What the tests of contracts share: compiled contracts, and real proofs of the committed vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from verinfer.circuits.package import Package
from verinfer.verifier.bundle import Bundle
from verinfer.verifier.evm import build, descriptor
from verinfer.verifier.evm.build import Contract
from verinfer.verifier.evm.calldata import OnChainProof, proof_of
from verinfer.verifier.evm.harden import Form
from verinfer.verifier.evm.solc import Compiled
from verinfer.verifier.receipt import parse_receipt

from ....agreement.pairs import VECTORS, read_bundles

Once = Callable[[Path, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def bundles() -> dict[str, Bundle]:
    """The committed circuits with public inputs, by their model's name."""
    return read_bundles()


@pytest.fixture(scope="session")
def honest(bundles: dict[str, Bundle]) -> dict[str, OnChainProof]:
    """A committed honest proof of each of them."""
    cases = {"bmi": "nothing-expected", "breast_cancer": "other-model"}
    return {
        model: proof_of(
            parse_receipt((VECTORS / "cases" / case / "receipt.json").read_bytes()), bundles[model].manifest
        )
        for model, case in cases.items()
    }


@pytest.fixture(scope="session")
def own(shared: Path, once: Once) -> dict[str, Compiled]:
    """Verinfer's own contracts, compiled once a run."""

    def make(path: Path) -> None:
        found = descriptor.compile_own()
        path.write_text(json.dumps({name: _to_json(compiled) for name, compiled in found.items()}))

    read = json.loads(once(shared / "own-contracts.json", make).read_text())
    return {name: _compiled(item) for name, item in read.items()}


@pytest.fixture(scope="session")
def verifiers(shared: Path, once: Once, bundles: dict[str, Bundle]) -> dict[Form, Contract]:
    """The hardened verifiers of the committed ``bmi``, of both forms, compiled once a run."""
    forms: tuple[Form, ...] = ("single", "reusable")
    return {form: _verifier(shared, once, bundles["bmi"], form) for form in forms}


def _verifier(shared: Path, once: Once, bundle: Bundle, form: Form) -> Contract:
    def make(path: Path) -> None:
        made = build.compile_verifier(bundle, form)
        vka = [word.hex() for word in made.vka]
        path.write_text(json.dumps({"source": made.source, "vka": vka, **_to_json(made.compiled)}))

    read = json.loads(once(shared / f"verifier-{form}.json", make).read_text())
    vka = tuple(bytes.fromhex(word) for word in read["vka"])
    return Contract(form, read["source"], _compiled(read), vka)


@pytest.fixture(scope="session")
def bmi_verifier(verifiers: dict[Form, Contract], bmi_package: Package) -> Contract:
    """The reusable verifier with the words of the package that tests can prove with: the same code, as a test shows."""
    return replace(verifiers["reusable"], vka=build.vka_of(bmi_package.bundle))


def _to_json(compiled: Compiled) -> dict[str, object]:
    return {"abi": compiled.abi, "creation": compiled.creation.hex(), "runtime": compiled.runtime.hex()}


def _compiled(item: dict[str, str]) -> Compiled:
    return Compiled(item["abi"], bytes.fromhex(item["creation"]), bytes.fromhex(item["runtime"]))  # type: ignore[arg-type]  # of JSON
