"""What a model's circuit would take, before anything heavy: k, rows, memory, key sizes, time; or that it cannot fit.

Takes a model folder or an ONNX file; gives an `Estimate` within seconds, or raises ``model-too-large`` with the layers to blame.
It counts EZKL's own numbers at one middling choice of them; `verinfer compile` searches, and may find something cheaper.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import CouldNotCheck, UsageError

from .candidates import Candidate, count_rows
from .columns import Columns, count_columns
from .cost import Coefficients, Cost, load_coefficients, predict
from .locate import explain
from .native import PARSE_LIMITS, Workplace, heavy_limits, machine_memory
from .profile import Layer, heaviest, profile

MOST_LOGROWS = 26
"""The largest public SRS."""

CONTRACT_LIMIT = 24_576
"""Bytes of the largest contract (EIP-170)."""

_NUMBERS = ((7, 2, 256, 3), (7, 2, 16384, 2))
"""Scale, rebase multiplier, base and legs: for small circuits, and for large ones."""

_SECONDS = 300
_BLINDING_ROWS = 16
_FOLDS = 3
_OUT = ("child-out-of-memory", "child-out-of-time", "child-killed", "child-aborted")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A circuit that could be made of a model: `rewrites` by name, what it takes, and which layers take it."""

    rewrites: tuple[str, ...]
    candidate: Candidate
    rows: int
    cost: Cost
    contract_bytes: int
    layers: tuple[Layer, ...]
    machine: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "rewrites": list(self.rewrites),
            "run_args": self.candidate.run_args(),
            "rows": self.rows,
            **asdict(self.cost),
            "contract_bytes": self.contract_bytes,
            "layers": [layer.to_json() for layer in self.layers],
            "machine": dict(self.machine),
        }


def estimate(model: Path, *, memory: int | None = None) -> Estimate:
    """The estimate for a model folder or an ONNX file, within `memory` bytes (default: nine tenths of this machine's).

    Raises `Malformed` (``model-refused``, ``model-unsupported``), `CouldNotCheck` (``model-too-large``).
    """
    network = model / "network.onnx" if model.is_dir() else model
    if not network.is_file():
        raise UsageError("file-missing", f"{network} is not there.")
    with tempfile.TemporaryDirectory(prefix="verinfer-estimate-") as home:
        limits = replace(heavy_limits(), wall_seconds=_SECONDS, cpu_seconds=_SECONDS * (os.cpu_count() or 1))
        place = Workplace(directory=Path(home), limits=limits)
        plain = place.directory / "plain.onnx"
        replace(place, limits=PARSE_LIMITS).onnx("adopt", model=network, output=plain)
        try:
            return _estimate(plain, place, memory or machine_memory() * 9 // 10)
        except ChildFailed as failure:
            if failure.code not in _OUT:
                raise
            raise CouldNotCheck(
                "model-too-large", f"Counting the circuit's rows alone takes too much: {failure.message}"
            ) from failure


def _estimate(plain: Path, place: Workplace, memory: int) -> Estimate:
    coefficients = load_coefficients()
    rewrites, wrapped, counted = _count(plain, place)
    sized = [at for candidate, settings in counted for at in _sizes(candidate, settings)]
    offers = [(*item, predict(item[1], coefficients)) for item in sized]
    fitting = [
        item
        for item in offers
        if item[0].logrows <= MOST_LOGROWS and max(item[2].prove_bytes, item[2].setup_bytes) <= memory
    ]
    candidate, settings, cost = min(
        fitting or offers, key=lambda item: item[2].prove_seconds if fitting else item[2].prove_bytes
    )
    layers = profile(wrapped, candidate.run_args(), place)
    if not fitting:
        raise CouldNotCheck(
            "model-too-large",
            f"The smallest circuit of this model has {settings['num_rows']:,} rows, k = {cost.logrows} and needs "
            f"{max(cost.prove_bytes, cost.setup_bytes) / 1e9:.1f} GB; there are {memory / 1e9:.1f} GB. "
            f"Most costly: {heaviest(layers)}.",
        )
    return Estimate(
        rewrites,
        candidate,
        settings["num_rows"],
        cost,
        contract_bytes(count_columns(settings)),
        layers,
        coefficients.machine,
    )


def contract_bytes(columns: Columns) -> int:
    """Roughly the size of a single verifier contract, from four that were compiled (1, 2, 4 and 8 inner columns)."""
    lookups = max(columns.arguments - 2 * columns.advice // 3, 0)
    return 7_600 + 900 * columns.advice + 500 * lookups


def _count(
    plain: Path, place: Workplace
) -> tuple[tuple[str, ...], Path, list[tuple[Candidate, dict[str, Any]]]]:
    """All rewrites or none, whichever has fewer cells: their names, the wrapped network, and settings by candidate."""
    names = tuple(place.simulate("rule_names"))
    probe = _candidates()[-1].run_args()
    best: tuple[float, tuple[str, ...], Path] | None = None
    for index, rules in enumerate(((), names)):
        rewritten, wrapped = (place.directory / f"{stage}-{index}.onnx" for stage in ("rewritten", "wrapped"))
        place.onnx("rewrite", model=plain, output=rewritten, rules=list(rules))
        place.onnx("wrap", model=rewritten, output=wrapped)
        settings = count_rows(str(wrapped), [probe], place)[0]
        if settings is not None and (best is None or _cells(settings) < best[0]):
            best = (_cells(settings), rules, wrapped)
    if best is None:
        raise explain(plain, probe, place)
    _, rules, wrapped = best
    candidates = _candidates()
    found = count_rows(str(wrapped), [item.run_args() for item in candidates], place)
    pairs = zip(candidates, found, strict=True)
    return rules, wrapped, [(item, settings) for item, settings in pairs if settings is not None]


def _candidates() -> list[Candidate]:
    return [
        Candidate(scale=scale, rebase=rebase, base=base, legs=legs, columns=columns)
        for scale, rebase, base, legs in _NUMBERS
        for columns in (1, 2)
    ]


def _cells(settings: Mapping[str, Any]) -> int:
    return int(settings["total_assignments"]) + int(settings["einsum_params"]["total_einsum_col_size"])


def _sizes(candidate: Candidate, settings: dict[str, Any]) -> Iterator[tuple[Candidate, dict[str, Any]]]:
    """Every k worth a thought: tables and instances fit into one column, and columns are folded at most thrice."""
    tables = [high - low + 1 for low, high in settings["required_range_checks"]]
    if settings["required_lookups"]:
        low, high = settings["run_args"]["lookup_range"]
        tables.append(high - low + 1)
    instances = sum(math.prod(shape) for shape in settings["model_instance_shapes"])
    least = max(8, math.ceil(math.log2(max(*tables, instances, 1) + _BLINDING_ROWS)))
    most = max(least, math.ceil(math.log2(settings["num_rows"] + _BLINDING_ROWS)))
    for logrows in range(max(least, most - _FOLDS), most + 1):
        args = {**settings["run_args"], "logrows": logrows}
        yield replace(candidate, logrows=logrows), {**settings, "run_args": args}


def as_text(found: Estimate, coefficients: Coefficients) -> str:
    """The estimate for people."""
    cost, size = found.cost, found.contract_bytes
    fits = (
        ""
        if size <= CONTRACT_LIMIT
        else f", over the limit of {CONTRACT_LIMIT:,}: a reusable verifier is needed"
    )
    machine = f"{coefficients.machine.get('processor')}, {coefficients.machine.get('cores')} cores"
    lines = [
        f"{'rows, k':<14} {found.rows:,}, {cost.logrows} ({cost.blocks} blocks of columns)",
        f"{'prove':<14} {cost.prove_seconds:.1f} s, {cost.prove_bytes / 1e6:,.0f} MB",
        f"{'setup':<14} {cost.setup_seconds:.1f} s, {cost.setup_bytes / 1e6:,.0f} MB",
        f"{'pk, vk, proof':<14} {cost.pk_bytes / 1e6:,.1f} MB, {cost.vk_bytes / 1e3:,.1f} kB, {cost.proof_bytes:,} B",
        f"{'contract':<14} about {size:,} B{fits} (rough)",
        f"{'most costly':<14} {heaviest(found.layers)}",
        f"{'rewrites':<14} {', '.join(found.rewrites) or 'none'}",
        "",
        f"For an idle machine like the one measured: {machine}.",
        "At one choice of numbers; verinfer compile searches, and may find something cheaper.",
    ]
    return "\n".join(lines)
