"""The fixed vectors of the protocol: the same statement has had the same proof since they were made."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from verinfer.circuits.sumcheck.description import canon
from verinfer.circuits.sumcheck.key_proof import prove_key
from verinfer.circuits.sumcheck.prover import Prover, model_id, setup
from verinfer.verifier.sumcheck.check import check
from verinfer.verifier.sumcheck.key import check_key

VECTORS = sorted((Path(__file__).parents[3] / "vectors" / "sumcheck").glob("*.json"))


def test_there_are_vectors() -> None:
    """The test below has something to compare with."""
    assert {path.stem for path in VECTORS} == {"mlp", "image", "rows", "wide"}


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_proofs_are_those_of_the_vectors(path: Path) -> None:
    """Root, name, output and both proofs are, byte for byte, what they were, else this is another protocol; and they hold."""
    vector = json.loads(path.read_bytes())
    weights = {name: np.array(value, np.int64) for name, value in vector["weights"].items()}
    key = setup(vector["description"], weights)
    assert key.root.hex() == vector["root"]
    assert model_id(vector["description"], key.root).hex() == vector["model_id"]
    proof = Prover(key).prove(np.array(vector["x"]), bytes.fromhex(vector["challenge"]))
    assert proof.y.reshape(-1).tolist() == vector["y"]
    assert len(proof.data) == vector["proof_bytes"]
    assert sha256(proof.data).hexdigest() == vector["proof_sha256"]
    key_proof = prove_key(key)
    assert sha256(key_proof).hexdigest() == vector["key_proof_sha256"]
    data = canon(vector["description"])
    check(data, key.root, bytes.fromhex(vector["challenge"]), vector["x"], vector["y"], proof.data)
    check_key(data, key.root, key_proof)
