"""Proofs of the research prototype, committed: the verifier accepts them, and the slow prover makes the same bytes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from verinfer.verifier.errors import Rejected
from verinfer.verifier.sumcheck.check import check

from .network import Network
from .prover import Prover

FOLDER = Path(__file__).parents[3] / "vectors" / "sumcheck" / "prototype"
BITS = 12


def read(name: str) -> dict[str, Any]:
    """A vector's fields, with bytes where they are bytes."""
    fields: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_bytes())
    fields |= {key: bytes.fromhex(fields[key]) for key in ("challenge", "root")}
    return fields | {"proof": base64.b64decode(fields["proof"], validate=True)}


@pytest.mark.parametrize("name", ["conv", "gemm", "residual", "stride"])
def test_two_independent_provers_and_the_verifier_agree(name: str) -> None:
    """The prototype's root, output and proof are, byte for byte, what the text says they are."""
    vector = read(name)
    network = Network(vector["description"], vector["weights"])
    prover = Prover(network)
    assert prover.root == vector["root"]
    y, proof = prover.prove(vector["challenge"], vector["x"])
    assert (vector["y"], vector["proof"]) == (y, proof)
    check(
        network.canon,
        vector["root"],
        vector["challenge"],
        vector["x"],
        vector["y"],
        vector["proof"],
        required_bits=BITS,
    )


def test_vectors_are_for_their_own_statement() -> None:
    """The proof of one vector is none of another's."""
    first, second = read("gemm"), read("conv")
    network = Network(second["description"], {})
    with pytest.raises(Rejected):
        check(
            network.canon,
            second["root"],
            second["challenge"],
            second["x"],
            second["y"],
            first["proof"],
            required_bits=BITS,
        )
