"""Make the fixed vectors of verinfer-sc/1: run it from the checkout's root, and commit what changed with its reason.

A vector is D, weights, an input and a challenge, and what follows from them: root, name, output, and the SHA-256 of both proofs.
Another hash for the same vector is another protocol, and wants another protocol id.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from verinfer.circuits.sumcheck.description import (
    PROTOCOL,
    Description,
    Weights,
    commitment_parameters,
    finish,
    layer_dims,
)
from verinfer.circuits.sumcheck.key_proof import prove_key
from verinfer.circuits.sumcheck.prover import Prover, model_id, setup

FOLDER = Path(__file__).parent / "sumcheck"

RELU = {"M": 1, "s": 7, "a": 8, "lo": 0}
SIGNED = {"M": 3, "s": 9, "a": 7, "lo": -64}

NETWORKS: dict[str, Description] = {
    "mlp": {
        "t": 8, "in_dims": [3], "in_bits": 8, "pcs": commitment_parameters(2),
        "layers": [{"op": "gemm", "nout": 7, **RELU}, {"op": "gemm", "nout": 4, **RELU}, {"op": "gemm", "nout": 2, "final": 1}],
    },
    "image": {
        "t": 9, "in_dims": [2, 7, 6], "in_bits": 8,
        "pcs": {**commitment_parameters(3), "fold": 2, "final_bits": 3, "leaf_bits": 2},
        "layers": [
            {"op": "conv", "k": 3, "stride": 1, "pad": 1, "cout": 3, **RELU},
            {"op": "pool", "k": 2, "M": 1, "s": 2, "a": 8, "lo": 0},
            {"op": "conv", "k": 2, "stride": 1, "pad": 1, "cout": 5, **SIGNED},
            {"op": "conv", "k": 1, "stride": 2, "pad": 0, "cout": 5, "src": 1, **SIGNED},
            {"op": "conv", "k": 2, "stride": 2, "pad": 0, "cout": 5, "src": 2, "res": {"src": 3, "c": -90}, **RELU},
            {"op": "gemm", "nout": 3, "final": 1},
        ],
    },
    "rows": {
        "t": 10, "in_dims": [5, 6], "in_bits": 6, "pcs": {**commitment_parameters(1), "leaf_bits": 0, "final_bits": 8},
        "layers": [
            {"op": "linear", "nout": 6, **SIGNED},
            {"op": "linear", "nout": 9, **RELU},
            {"op": "linear", "nout": 6, "res": {"src": 0, "c": 200}, **SIGNED},
            {"op": "gemm", "nout": 4, "final": 1},
        ],
    },
    "wide": {
        "t": 16, "in_dims": [1, 5, 5], "in_bits": 16, "pcs": {**commitment_parameters(4), "fold": 4},
        "layers": [
            {"op": "pool", "k": 1, "M": 1, "s": 1, "a": 16, "lo": 0},
            {"op": "conv", "k": 4, "stride": 3, "pad": 2, "cout": 2, "M": 1, "s": 18, "a": 16, "lo": -(1 << 15)},
            {"op": "conv", "k": 2, "stride": 1, "pad": 0, "cout": 3, "final": 1},
        ],
    },
}  # fmt: skip


def weights_of(description: Description, seed: int) -> Weights:
    """Random weights, wider where activations are."""
    rng = np.random.default_rng(seed)
    most = 1 << (description["in_bits"] - 1)
    weights: dict[str, Any] = {}
    outputs: list[tuple[int, ...]] = []
    for index, layer in enumerate(description["layers"]):
        source = layer.get("src", index - 1)
        given = outputs[source] if source >= 0 else tuple(description["in_dims"])
        outputs.append(layer_dims(layer, given))
        if layer["op"] != "pool":
            count = layer.get("cout") or layer["nout"]
            shape = {"conv": (given[0], layer.get("k"), layer.get("k")), "linear": given[1:]}
            rest = shape.get(layer["op"], (int(np.prod(given)),))
            weights[f"W{index}"] = rng.integers(-most, most, (count, *rest))
            weights[f"b{index}"] = rng.integers(-9 * most, 9 * most, count)
    return weights


def main() -> None:
    """Write every vector."""
    for number, (name, network) in enumerate(NETWORKS.items()):
        bare = {"proto": PROTOCOL, **network}
        weights = weights_of(bare, number)
        description = finish(bare, weights)
        rng = np.random.default_rng(100 + number)
        x = rng.integers(0, 1 << description["in_bits"], description["in_dims"])
        challenge = sha256(name.encode()).digest()
        key = setup(description, weights)
        proof = Prover(key).prove(x, challenge)
        vector = {
            "description": description,
            "weights": {name: value.tolist() for name, value in weights.items()},
            "x": x.reshape(-1).tolist(),
            "challenge": challenge.hex(),
            "root": key.root.hex(),
            "model_id": model_id(description, key.root).hex(),
            "y": proof.y.reshape(-1).tolist(),
            "proof_bytes": len(proof.data),
            "proof_sha256": sha256(proof.data).hexdigest(),
            "key_proof_sha256": sha256(prove_key(key)).hexdigest(),
        }
        (FOLDER / f"{name}.json").write_text(json.dumps(vector, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
