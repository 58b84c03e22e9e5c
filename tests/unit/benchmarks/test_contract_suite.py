"""The suite that measures contracts: with real proofs, and what people read of it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from verinfer.circuits.package import Package
from verinfer.verifier.evm.descriptor import compile_own

pytestmark = pytest.mark.usefixtures("compiled_once")

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture(autouse=True)
def _suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """`scripts/benchmarks` is no part of the installation; it is found as `scripts/bench` finds it."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


def _module(name: str) -> Any:
    return importlib.import_module(f"benchmarks.{name}")


def _results(rates: dict[str, float]) -> dict[str, Any]:
    price = {
        "deploy": 2_000_000, "verify": 500_000, "verify_osaka": 508_097, "verify_bytes": 4_000, "consumer": 700_000,
        "request": 90_000, "settle": 600_000, "settle_osaka": 608_097,
    }  # fmt: skip
    one = {"runtime_bytes": 20_000, "fits": True, "price": price, "settle_bytes": 4_200, "foreseen": price}
    large = {**one, "runtime_bytes": 30_000, "fits": False}
    case = {
        "commit": "c",
        "logrows": 10,
        "instances": 21,
        "proof_bytes": 3_000,
        "forms": {"single": large, "reusable": one},
    }
    machine = {"packages": {"ezkl": "23.0.5"}, "commit": "c"}
    return {"machine": machine, "solc": "0.8.37", "rates": rates, "cases": {"bmi": case}}


def test_a_package_is_measured_with_a_proof_that_settles(
    bmi_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real proof for the request's own nonce; what `contract build` foresees without one is near it."""
    suite = _module("contract")
    monkeypatch.setattr(suite, "FORMS", ("reusable",))
    found = suite.measure(bmi_package, {"habits": [0.5, -0.25, 1.0]}, compile_own(), lambda _text: None)
    assert found["circuit"] == bmi_package.digest
    reusable = found["forms"]["reusable"]
    gas, foreseen = reusable["price"], reusable["foreseen"]
    assert reusable["fits"]
    assert set(gas) == set(foreseen)
    for name in ("deploy", "register_vka", "verify_bytes", "request", "consumer"):
        assert gas[name] == pytest.approx(foreseen[name], rel=0.001)
    assert gas["verify"] == pytest.approx(foreseen["verify"], rel=0.01)
    assert gas["settle"] == pytest.approx(foreseen["settle"], rel=0.02)


def test_the_table_shows_sizes_forks_and_money() -> None:
    """A verifier that no chain takes is marked; USD are those of the rates that stand above the table."""
    lines = _module("contract_report").as_table(_results({"gwei": 2.0, "usd": 1000.0})).splitlines()
    assert lines[0].endswith("commit c; USD at 2 Gwei a gas and 1,000 USD a token.")
    single, reusable = (line for line in lines if line.startswith("| bmi, 21 |"))
    assert "30,000 ✗" in single
    assert "✗" not in reusable
    assert "500,000 (508,097) | 600,000 (608,097) | 4,000 | 4.00 | 1.20 |" in reusable


def test_results_are_written_where_they_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One model without --out writes nothing; the rates that were given are in the results."""
    suite, bench = _module("contract"), _module("__main__").bench
    monkeypatch.setattr(suite, "run", lambda *_arguments: iter([_results({})["cases"]]))
    monkeypatch.setattr(_module("__main__"), "RESULTS", tmp_path / "none")
    arguments = ["contract", "--model", "bmi", "--gas-price", "3", "--token-price", "50"]
    done = CliRunner().invoke(bench, arguments)
    assert done.exit_code == 0
    assert json.loads(done.stdout.splitlines()[-1])["rates"] == {"gwei": 3.0, "usd": 50.0}
    assert not list(tmp_path.iterdir())
    assert CliRunner().invoke(bench, [*arguments, "--out", str(tmp_path)]).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"contract.json", "contract.md"}
