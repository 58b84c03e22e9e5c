"""Our own proof system inside a limited child: kernels compiled, keys made, proofs; every function takes paths and plain JSON.

One child is one prover: what `load` loaded stays, with the memory that proofs take, and is what `forward` and `prove` work with.
Every child has a copy of the compiled kernels for itself, in its own folder: what lies in the cache is run by others.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verinfer.verifier.errors import CouldNotCheck

from .sumcheck.kernel_cache import IN_A_CHILD

if TYPE_CHECKING:
    # numba reads where its kernels are when these are loaded, so `_use_kernels` comes first.
    from .sumcheck.description import Description
    from .sumcheck.prover import Prover, ProvingKey
    from .sumcheck.witness import Witness

_log = logging.getLogger("kernels")

_PARTS = "verinfer.circuits.sumcheck."


@dataclass(slots=True)
class _Loaded:
    """A prover, and the witness of the last forward pass, which the proof after it takes up again."""

    prover: Prover
    witness: Witness | None = None


_loaded: _Loaded | None = None


def compile_kernels() -> list[str]:
    """Compile every kernel there is, or find it compiled; gives the names of those that these networks do not call.

    How far it is comes in log lines, ``kernels 12/60``.
    """
    _use_kernels()
    os.environ["VERINFER_SUMCHECK_THREADS"] = "2"
    from .sumcheck.every_kind import every_kind
    from .sumcheck.key_proof import prove_key
    from .sumcheck.prover import Prover, setup

    with _counting():
        for description, weights in every_kind():
            key = setup(description, weights)
            x = _zeros(description)
            Prover(key).prove(x, bytes(32))
            prove_key(key)
    return sorted(name for name, kernel in _kernels().items() if not kernel.signatures)


def make_key(*, description: str, weights: str, key_proof: str) -> dict[str, Any]:
    """Write the key proof of a D and its weights; gives their root, and what it took."""
    _use_kernels()
    from .sumcheck.key_proof import prove_key

    started = time.perf_counter()
    key = _key(description, weights)
    Path(key_proof).write_bytes(prove_key(key))
    return {"root": key.root.hex(), "seconds": time.perf_counter() - started}


def find_root(*, description: str, weights: str) -> str:
    """The root of a D and its weights, as hex."""
    _use_kernels()
    return _key(description, weights).root.hex()


def load(*, description: str, weights: str, root: str) -> None:
    """Make the proving key, and one proof, so that the next takes what each takes.

    Raises `CouldNotCheck` (``artifact-torn``) where the key is not the one with this root.
    """
    global _loaded  # noqa: PLW0603 - a child has one prover, for as long as it lives
    _use_kernels()
    from .sumcheck.prover import Prover

    key = _key(description, weights)
    if key.root.hex() != root:
        raise CouldNotCheck(
            "artifact-torn", "The weights are not those of the circuit's root; build it again."
        )
    prover = Prover(key)
    prover.prove(_zeros(key.layout.description), bytes(32))
    _loaded = _Loaded(prover)


def forward(*, x: Sequence[int]) -> list[int]:
    """The output for an input of D, both flat."""
    from .sumcheck.witness import witness

    loaded = _require_loaded()
    key = loaded.prover.key
    loaded.witness = witness(key.layout, key.tags, key.weights, _array(x))
    return _flat(loaded.witness.y)


def prove(*, x: Sequence[int], challenge: str) -> dict[str, Any]:
    """A proof for this input and these 32 bytes, base64; with the output that it proves, and what the bare call cost."""
    loaded = _require_loaded()
    if loaded.witness is None or _flat(loaded.witness.x) != list(x):
        forward(x=x)
    assert loaded.witness is not None
    started = time.perf_counter()
    proof = loaded.prover.prove_witness(loaded.witness, bytes.fromhex(challenge))
    seconds = time.perf_counter() - started
    loaded.witness = None
    return {
        "proof": base64.b64encode(proof.data).decode("ascii"),
        "y": _flat(proof.y),
        "seconds": seconds,
        "peak_bytes": _peak_bytes(),
    }


def _use_kernels() -> None:
    """Have numba look for kernels in this child's own folder, and nowhere else."""
    os.environ["NUMBA_CACHE_DIR"] = str(Path.cwd() / IN_A_CHILD)


def _require_loaded() -> _Loaded:
    if _loaded is None:
        raise RuntimeError("nothing was loaded")
    return _loaded


def _key(description: str, weights: str) -> ProvingKey:
    from .sumcheck.prover import setup
    from .sumcheck.validation import validated
    from .sumcheck.weights import read_weights

    network: Description = json.loads(Path(description).read_bytes())
    return setup(network, read_weights(validated(network), Path(weights).read_bytes()))


def _array(values: Sequence[int]) -> Any:
    import numpy as np

    return np.array(values, np.int64)


def _flat(values: Any) -> list[int]:
    found: list[int] = values.ravel().tolist()
    return found


def _zeros(description: Description) -> Any:
    import numpy as np

    return np.zeros(description["in_dims"], np.int64)


def _peak_bytes() -> int:
    """The largest resident set of this program so far, LLVM's included; see `_ezkl.peak_bytes`."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def _kernels() -> dict[str, Any]:
    """What numba compiles for calls from Python, by name."""
    modules = [module for name, module in sys.modules.items() if name.startswith(_PARTS)]
    return {
        f"{value.__module__.removeprefix(_PARTS)}.{value.__name__}": value
        for module in modules
        for value in vars(module).values()
        if hasattr(value, "signatures") and not value.targetoptions.get("forceinline")
    }


@contextmanager
def _counting() -> Iterator[None]:
    """Log each second how many kernels are there."""
    ended = threading.Event()

    def count() -> None:
        while not ended.wait(1.0):
            kernels = _kernels().values()
            _log.info("%d/%d", sum(bool(kernel.signatures) for kernel in kernels), len(kernels))

    counter = threading.Thread(target=count, name="count", daemon=True)
    counter.start()
    try:
        yield
    finally:
        ended.set()
        counter.join()
