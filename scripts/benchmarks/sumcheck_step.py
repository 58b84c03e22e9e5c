"""The inside of a measured child of the suite ``sumcheck``: one network, proven and checked many times in one process.

Run as ``python -P sumcheck_step.py REQUEST``, a JSON object with `folder`, `answer`, `proofs` and `checks`; in the folder are
``description.json``, ``weights.npz`` and ``inputs.npy``.
The answer has seconds of each call, in their order, and the most memory that the process held until it began to check.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from verinfer.circuits.sumcheck.description import canon
from verinfer.circuits.sumcheck.key_proof import prove_key
from verinfer.circuits.sumcheck.prover import Prover, setup
from verinfer.verifier.sumcheck.check import check
from verinfer.verifier.sumcheck.key import check_key

WARM_UP = 2
"""Proofs, and checks, that do not count: the first loads kernels."""


def main() -> None:
    """Prove, check, answer."""
    request = json.loads(sys.argv[1])
    folder = Path(request["folder"])
    description = json.loads((folder / "description.json").read_text())
    with np.load(folder / "weights.npz") as archive:
        weights = dict(archive)
    inputs = np.load(folder / "inputs.npy")
    setup(description, weights)  # loads its kernels
    key, setup_seconds = _timed(partial(setup, description, weights))
    prover = Prover(key)
    proofs, seconds = [], []
    for number in range(WARM_UP + request["proofs"]):
        x, challenge = inputs[number % len(inputs)], os.urandom(32)
        proof, taken = _timed(partial(prover.prove, x, challenge))
        proofs.append((x, challenge, proof))
        seconds.append(taken)
    answer: dict[str, Any] = {
        "setup": [setup_seconds],
        "prove": seconds[WARM_UP:],
        "peak_bytes": _peak_bytes(),
        "proof_bytes": max(len(proof.data) for _, _, proof in proofs),
        "check": [],
    }
    for x, challenge, proof in proofs[: WARM_UP + request["checks"]]:
        given, found = x.ravel().tolist(), proof.y.ravel().tolist()
        _, taken = _timed(partial(check, canon(description), key.root, challenge, given, found, proof.data))
        answer["check"].append(taken)
    answer["check"] = answer["check"][WARM_UP:]
    if request["checks"]:
        data, answer["key_prove"] = _timed(partial(prove_key, key))
        _, answer["key_check"] = _timed(partial(check_key, canon(description), key.root, data))
        answer["key_bytes"] = len(data)
    Path(request["answer"]).write_text(json.dumps(answer))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


def _peak_bytes() -> int:
    """The most memory this process held; getrusage would count its parent's, from before the program was started."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not say VmHWM")


if __name__ == "__main__":
    main()
