"""What a compilation foresees of a circuit's contract is what the contract then is and takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from verinfer.circuits import gas
from verinfer.circuits.columns import Columns, count_columns
from verinfer.circuits.compile import compile_model
from verinfer.circuits.package import Package, open_package
from verinfer.circuits.targets import Targets
from verinfer.verifier.bundle import Bundle
from verinfer.verifier.evm import build, calldata, price
from verinfer.verifier.evm.build import Contract
from verinfer.verifier.evm.calldata import Layout, OnChainProof
from verinfer.verifier.evm.harden import Form
from verinfer.verifier.evm.solc import Compiled

from .chain import Chain
from .conftest import Once

pytestmark = pytest.mark.usefixtures("compiled_once")

RESULTS = Path(__file__).parents[4] / "scripts" / "benchmarks" / "results" / "gas.json"
CASES = json.loads(RESULTS.read_text())["cases"]


def _columns(bundle: Bundle) -> Columns:
    uncompressed = bundle.manifest.ezkl.selectors == "uncompressed"
    return count_columns(json.loads(bundle.files["settings.json"]), uncompressed=uncompressed)


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_gas_and_bytes_are_foreseen(case: dict[str, Any]) -> None:
    """For each circuit that `scripts/gas` measured, in both forms, the estimate is within the error that it names."""
    columns = count_columns(case["settings"], uncompressed=case["uncompressed"])
    used, size = case["verify_gas"], case["contract_bytes"]
    assert set(used) == set(gas.PRICES)
    for form in gas.PRICES:
        assert gas.verify_gas(columns, form) == pytest.approx(used[form], rel=gas.ERROR)
    assert gas.contract_bytes(columns) == pytest.approx(size, rel=gas.ERROR)


@pytest.mark.parametrize(
    ("model", "form"), [("bmi", "single"), ("bmi", "reusable"), ("breast_cancer", "reusable")]
)
def test_a_real_proof_takes_the_gas_that_was_foreseen(
    bundles: dict[str, Bundle],
    verifiers: dict[Form, Contract],
    honest: dict[str, OnChainProof],
    model: str,
    form: Form,
) -> None:
    """Committed proofs of committed circuits, verified by compiled contracts in an EVM."""
    contract, chain = verifiers[form], Chain()
    address = chain.deploy(contract.compiled.creation)
    vka = build.vka_of(bundles[model]) if form == "reusable" else ()
    if vka:
        chain.call(address, calldata.register(vka))
    used = chain.call(address, calldata.verify(honest[model], vka)).gas
    columns = _columns(bundles[model])
    assert gas.verify_gas(columns, form) == pytest.approx(used, rel=gas.ERROR)
    assert len(honest[model].proof) == 32 * columns.proof_words


@pytest.fixture(scope="module")
def evm_package(quick: Path, shared: Path, once: Once) -> Package:
    """The package of ``quick`` that was asked to be cheap on chain."""

    def make(folder: Path) -> None:
        compile_model(
            quick,
            folder,
            srs=None,
            insecure_srs=True,
            on_progress=lambda _phase, _share: None,
            targets=Targets(evm=True),
            budget=0,
        )

    return open_package(once(shared / "evm-package", make))


def test_a_circuit_for_a_chain_takes_less_gas(
    evm_package: Package, bmi_package: Package, own: dict[str, Compiled]
) -> None:
    """One inner column and one block: its own verifier fits a chain, and takes what the card said before it was built."""
    card = json.loads(evm_package.path("card.json").read_text())["cost"]
    columns, fast = _columns(evm_package.bundle), _columns(bmi_package.bundle)
    assert (columns.blocks, columns.product_blocks, columns.advice) == (1, 0, 3)
    assert gas.on_chain(columns).verify_gas < 0.75 * gas.on_chain(fast).verify_gas
    contract = build.build_contract(evm_package.bundle)
    assert contract.form == "single"
    assert card["estimated_contract_bytes"] == pytest.approx(len(contract.compiled.runtime), rel=gas.ERROR)
    shape = Layout.of(evm_package.manifest)
    found = price.measure_shape(contract, shape, own["InferenceConsumer"])
    assert card["estimated_verify_gas"] == pytest.approx(found.verify, rel=gas.ERROR)
    assert f"{card['estimated_verify_gas']:,} gas" in evm_package.path("card.md").read_text()
