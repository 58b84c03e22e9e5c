"""Random integer networks of odd sizes, for the tests of the reference, the witness and the proofs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from verinfer.circuits.sumcheck import description
from verinfer.circuits.sumcheck.description import Description, Integers, Weights
from verinfer.circuits.sumcheck.layout import layout_of

SEEDS = range(int(os.environ.get("VERINFER_RANDOM_NETWORKS", "40")))
"""More than the suite has time for where the environment says so."""

Random = np.random.Generator


def _layer(rng: Random, dims: tuple[int, ...]) -> dict[str, Any]:
    """A layer that takes these dimensions."""
    rest: dict[str, Any] = {
        "M": int(rng.choice([1, 1, 3, 77])),
        "s": int(rng.integers(1, 12)),
        "a": int(rng.integers(1, 9)),
    }
    rest["lo"] = 0 if rng.random() < 0.6 else -(1 << (rest["a"] - 1))
    if len(dims) == 3 and rng.random() < 0.75:
        if min(dims[1:]) >= 2 and rng.random() < 0.3:
            return {"op": "pool", "k": int(rng.integers(1, min(dims[1:]) + 1)), **rest}
        k = int(rng.integers(1, 5))
        edge = int(rng.integers(0, k))
        if min(dims[1:]) + 2 * edge >= k:
            shape = {"k": k, "pad": edge, "stride": int(rng.integers(1, 4)), "cout": int(rng.integers(1, 6))}
            return {"op": "conv", **shape, **rest}
    op = "linear" if len(dims) == 2 and rng.random() < 0.7 else "gemm"
    return {"op": op, "nout": int(rng.integers(1, 8)), **rest}


def _weights_of(
    rng: Random, layer: dict[str, Any], index: int, dims: tuple[int, ...]
) -> Iterator[tuple[str, Any]]:
    if layer["op"] == "pool":
        return
    out = layer.get("cout") or layer["nout"]
    shape = {"conv": (dims[0], *[layer.get("k", 1)] * 2), "linear": dims[1:], "gemm": (int(np.prod(dims)),)}
    yield f"W{index}", rng.integers(-60, 60, (out, *shape[layer["op"]]))
    yield f"b{index}", rng.integers(-900, 900, out)


def network(seed: int) -> tuple[Description, Weights, Integers]:
    """A random network of odd sizes, with shortcuts and earlier sources where shapes allow them, and inputs for it."""
    rng = np.random.default_rng(seed)
    ranks = [(5,), (3, 7), (2, 5, 6), (1, 9, 7), (3, 3, 3)]
    start = ranks[seed % len(ranks)]
    d: Description = {
        "proto": description.PROTOCOL, "t": int(rng.integers(8, 12)), "in_dims": list(start), "in_bits": int(rng.integers(1, 9)),
        "layers": [], "pcs": _commitment(rng),
    }  # fmt: skip
    weights: dict[str, Any] = {}
    count = int(rng.integers(2, 6))
    for index in range(count):
        shapes = description.out_dims(d)
        sources = [*range(index - 1)] if rng.random() < 0.4 else []
        source = int(rng.choice(sources)) if sources else index - 1
        dims = start if source < 0 else shapes[source]
        layer = _layer(rng, dims)
        if source != index - 1:
            layer["src"] = source
        fitting = [at for at, shape in enumerate(shapes) if shape == description.layer_dims(layer, dims)]
        if fitting and rng.random() < 0.7:
            layer["res"] = {"src": int(rng.choice(fitting)), "c": int(rng.choice([-7, 3, 200]))}
        if index == count - 1:
            layer = {key: value for key, value in layer.items() if key not in ("M", "s", "a", "lo")} | {
                "final": 1
            }
        d["layers"].append(layer)
        weights.update(_weights_of(rng, layer, index, dims))
    if not layout_of(description.finish(d, weights)).product_bits:  # nothing to prove by an inner product
        return network(seed + 1000)
    top = (1 << d["in_bits"]) - 1
    inputs = np.stack(
        [rng.integers(0, top + 1, start), rng.integers(0, 2, start) * top, np.zeros(start, int)]
    )
    return description.finish(d, weights), weights, inputs


def _commitment(rng: Random) -> dict[str, int]:
    """Any parameters that section 3.1 allows."""
    return {
        **description.commitment_parameters(int(rng.integers(1, 5))),
        "fold": int(rng.integers(1, 5)),
        "final_bits": int(rng.integers(1, 9)),
        "leaf_bits": int(rng.integers(0, 6)),
    }
