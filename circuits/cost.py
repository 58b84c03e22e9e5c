"""The cost model: from a circuit's settings to seconds and bytes, without making a key.

Work grows with columns times 2^k, so each figure is a sum of a few counts (`columns`) times coefficients of the machine.
Coefficients are measured by `fit` on small circuits, in processor seconds, which other work on the machine hardly changes,
and kept in the user's cache; `DEFAULTS` says where those were measured that are used before.
Sizes of keys and proofs follow from the columns alone.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verinfer.verifier import files, strict_json
from verinfer.verifier.cache import cache_folder
from verinfer.verifier.digest import sha256
from verinfer.verifier.errors import VerinferError

from . import gas
from .columns import Columns, count_columns

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DEFAULTS = Path(__file__).with_name("cost.json")
"""Coefficients measured by `fit` on the machine that the file names."""

MOST_LOGROWS = 26
"""The largest public SRS."""

_VERIFY_ONCE, _VERIFY_BYTE, _VERIFY_COMPARED = 0.010, 1.7e-6, 0.12e-9
"""Seconds of EZKL's ``verify``, by the proof's bytes and by what reading the vk compares; from LeNet-5 and an LSTM at k = 15,
with and without compressed selectors."""

_LIMIT = 1 << 16
_VERSION = 1
_SWEEPS = 20_000

_TERMS: dict[str, tuple[str, ...]] = {
    "prove_seconds": ("once", "advice", "arguments", "key", "rows"),
    "setup_seconds": ("once", "key", "selectors"),
    "prove_bytes": ("once", "advice", "arguments", "key"),
    "setup_bytes": ("once", "key", "selectors"),
}
"""What each figure is a sum of; the figures of `Measurement`."""

_Counts = Callable[[Columns], float]
_COUNTS: dict[str, _Counts] = {
    "once": lambda _: 1.0,
    "rows": lambda columns: columns.rows,
    "advice": lambda columns: columns.rows * columns.advice,
    "arguments": lambda columns: columns.rows * columns.arguments,
    "selectors": lambda columns: columns.rows * columns.selectors,
    "key": lambda columns: columns.key_elements,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one circuit is predicted to cost: seconds on an idle machine, bytes, and the shape that they follow from."""

    prove_seconds: float
    setup_seconds: float
    prove_bytes: int
    setup_bytes: int
    pk_bytes: int
    vk_bytes: int
    proof_bytes: int
    verify_seconds: float
    verify_gas: int
    contract_bytes: int
    logrows: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Coefficients:
    """A machine's price of each term of each figure, and how many cores' work it does at once."""

    machine: Mapping[str, Any]
    parallel: float
    terms: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        return {
            "version": _VERSION,
            "machine": dict(self.machine),
            "parallel": self.parallel,
            "terms": {name: dict(prices) for name, prices in self.terms.items()},
        }


@dataclass(frozen=True, slots=True)
class Measurement:
    """One circuit as it was measured: processor seconds, peak bytes, and how many cores it would have used at once."""

    settings: Mapping[str, Any]
    prove_seconds: float
    setup_seconds: float
    prove_bytes: float
    setup_bytes: float
    parallel: float


def predict(
    settings: Mapping[str, Any],
    coefficients: Coefficients,
    *,
    uncompressed: bool | None = None,
    evm: bool = False,
) -> Cost:
    """What a circuit with these settings, whose ``logrows`` may be changed first, costs on the machine of `coefficients`.

    `uncompressed`: whether each selector has its column; unless told, as `compile` would do it for a chain (`evm`) or not.
    """
    if uncompressed is None:
        uncompressed = prefers_uncompressed(settings, evm=evm)
    columns = count_columns(settings, uncompressed=uncompressed)
    figures = {
        figure: sum(price * _COUNTS[term](columns) for term, price in prices.items())
        for figure, prices in coefficients.terms.items()
    }
    vk_bytes = 7 + 64 * (columns.fixed + columns.equality)
    if not columns.uncompressed:
        vk_bytes += columns.selectors * columns.rows // 8
    proof_bytes = 32 * columns.proof_words
    on_chain = gas.on_chain(columns)
    return Cost(
        prove_seconds=figures["prove_seconds"] / coefficients.parallel,
        setup_seconds=figures["setup_seconds"] / coefficients.parallel,
        prove_bytes=int(figures["prove_bytes"]),
        setup_bytes=int(figures["setup_bytes"]),
        pk_bytes=32 * columns.key_elements + vk_bytes,
        vk_bytes=vk_bytes,
        proof_bytes=proof_bytes,
        verify_seconds=_VERIFY_ONCE + _VERIFY_BYTE * proof_bytes + _VERIFY_COMPARED * columns.compared,
        verify_gas=on_chain.verify_gas,
        contract_bytes=on_chain.contract_bytes,
        logrows=columns.logrows,
        blocks=columns.blocks,
    )


def prefers_uncompressed(settings: Mapping[str, Any], *, evm: bool = False) -> bool:
    """Whether a circuit with these settings has so many selectors that each should get a column.

    A warm check may take 50 ms up to k = 15 and 200 ms above; of that, reading the vk may take so much.
    On chain each column costs gas, and nobody reads the vk.
    """
    if evm:
        return False
    columns = count_columns(settings, uncompressed=False)
    allowed = 0.015 if columns.logrows <= 15 else 0.075
    return _VERIFY_COMPARED * columns.compared > allowed


def fits(cost: Cost, memory: int) -> bool:
    """Whether a public SRS is large enough, and `memory` bytes for setup and proof."""
    return cost.logrows <= MOST_LOGROWS and max(cost.prove_bytes, cost.setup_bytes) <= memory


def solve(measured: Sequence[Measurement], machine: Mapping[str, Any]) -> Coefficients:
    """The prices, none below zero, with the least squares of relative errors over `measured`."""
    # Only a fit needs it; every command starts with this module.
    import numpy as np

    counted = [count_columns(item.settings, uncompressed=False) for item in measured]
    terms: dict[str, dict[str, float]] = {}
    for figure, names in _TERMS.items():
        wanted = np.array([getattr(item, figure) for item in measured])
        counts = np.array([[_COUNTS[name](columns) for name in names] for columns in counted])
        prices = _nonnegative(counts / wanted[:, None])
        terms[figure] = dict(zip(names, prices, strict=True))
    return Coefficients(machine, max(1.0, *(item.parallel for item in measured)), terms)


def load_coefficients() -> Coefficients:
    """Those that were fitted on this machine, else the defaults."""
    try:
        return _read(fitted_file())
    except (VerinferError, OSError):
        return _read(DEFAULTS)


def save(coefficients: Coefficients, path: Path) -> None:
    """Write coefficients to `path`."""
    files.write_atomically(path, json.dumps(coefficients.to_json(), indent=2).encode() + b"\n")


def fitted_file() -> Path:
    """Where coefficients of this machine are kept: by processor, cores and EZKL's version."""
    name = sha256(json.dumps(this_machine(), sort_keys=True).encode())[:16]
    return cache_folder("costs") / f"{name}.json"


def this_machine() -> dict[str, Any]:
    """What decides whether coefficients still hold."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        ezkl = version("ezkl")
    except PackageNotFoundError:
        ezkl = "none"
    return {"processor": _processor(), "cores": len(os.sched_getaffinity(0)), "ezkl": ezkl}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _read(path: Path) -> Coefficients:
    """Raises `VerinferError` or `OSError` if this is no file of coefficients of this version."""
    value = strict_json.parse(files.read(path, limit=_LIMIT), limit=_LIMIT, what="cost model", floats=True)
    try:
        if value["version"] != _VERSION:
            raise OSError(f"{path} is of another version")
        terms = {
            figure: {name: float(value["terms"][figure][name]) for name in names}
            for figure, names in _TERMS.items()
        }
        return Coefficients(dict(value["machine"]), float(value["parallel"]), terms)
    except (KeyError, TypeError, ValueError) as error:
        raise OSError(f"{path} holds no coefficients") from error


def _nonnegative(matrix: npt.NDArray[np.float64]) -> list[float]:
    """The x >= 0 for which `matrix` x is nearest to ones, by coordinate descent (Franc, Hlaváč, Navara 2005)."""
    import numpy as np

    scale = matrix.max(axis=0)
    scaled = matrix / scale
    square, right = scaled.T @ scaled, scaled.sum(axis=0)
    found = np.zeros(len(scale))
    for _ in range(_SWEEPS):
        before = found.copy()
        for index in range(len(found)):
            step = (right[index] - square[index] @ found) / square[index, index]
            found[index] = max(0.0, found[index] + step)
        if np.abs(found - before).max() < 1e-12:
            break
    return [float(value) for value in found / scale]
