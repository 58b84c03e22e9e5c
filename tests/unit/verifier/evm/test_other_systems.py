"""Circuits of other proof systems than EZKL's: no contract checks their proofs, and that is said first."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from verinfer.verifier.bundle import open_bundle, read_files
from verinfer.verifier.errors import UsageError
from verinfer.verifier.evm.fetch import fetch_contract
from verinfer.verifier.evm.make import make_contract

BUNDLES = Path(__file__).parents[3] / "vectors" / "sumcheck" / "receipts" / "shared" / "bundles"


@pytest.mark.parametrize("circuit", sorted(path.name for path in BUNDLES.iterdir()))
def test_a_circuit_of_another_proof_system_has_no_contract(circuit: str, tmp_path: Path) -> None:
    """Nothing is built, and no service is asked."""
    content = read_files(BUNDLES / circuit)
    with pytest.raises(UsageError) as caught:
        make_contract(content, tmp_path / "out", allow_insecure_srs=False)
    assert caught.value.code == "not-on-chain"
    bundle, manifest = open_bundle(content, circuit), content["manifest.json"]
    with httpx.Client(base_url="http://127.0.0.1:1") as http, pytest.raises(UsageError) as caught:
        fetch_contract(http, bundle, manifest, tmp_path / "out", code_hash=None, allow_insecure_srs=False)
    assert caught.value.code == "not-on-chain"
    assert not (tmp_path / "out").exists()
