"""What a model's circuit would take, before anything heavy: k, rows, memory, key sizes, time; or that it cannot fit.

Takes a model folder or an ONNX file; gives an `Estimate` within seconds, or raises ``model-too-large`` with the layers to blame.
It counts cells at one middling choice of numbers, EZKL's own and those of a lowering, since numbers hardly change what a
circuit takes; which of them are good enough is for samples to say, and for `verinfer compile`.
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
from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.manifest import Visibility

from . import lowering, tune
from .candidates import Candidate, count_rows, unfolded_rows
from .columns import Columns, count_columns
from .cost import Coefficients, Cost, fits, load_coefficients, predict, prefers_uncompressed
from .locate import explain
from .native import PARSE_LIMITS, Workplace, heavy_limits, usable_memory
from .offers import Offer, Rewrites, count_cells, pairings, rule_names, shapes
from .plan import Plan, Sites
from .profile import Layer, heaviest, profile
from .stages import apply_rules, rewrite_and_wrap

CONTRACT_LIMIT = 24_576
"""Bytes of the largest contract (EIP-170)."""

_NUMBERS = ((7, 2, 256, 3), (7, 2, 16384, 2))
"""Scale, rebase multiplier, base and legs: for small circuits, and for large ones."""

_BITS = 5
_TABLE = (-4096, 4096)
"""What lowerings of the benchmark models were found to need, roughly: numbers of few bits, and tables for their sums."""

_SECONDS = 300
_BLINDING_ROWS = 16
_FOLDS = 3
_OUT = ("child-out-of-memory", "child-out-of-time", "child-killed", "child-aborted")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A circuit that could be made of a model: `rewrites` by name, what it takes, and which layers take it."""

    rewrites: tuple[str, ...]
    run_args: Mapping[str, Any]
    rows: int
    cost: Cost
    contract_bytes: int
    layers: tuple[Layer, ...]
    machine: Mapping[str, Any]
    batch: int = 1

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "rewrites": list(self.rewrites),
            "run_args": dict(self.run_args),
            "batch": self.batch,
            "rows": self.rows,
            **asdict(self.cost),
            "contract_bytes": self.contract_bytes,
            "layers": [layer.to_json() for layer in self.layers],
            "machine": dict(self.machine),
        }


def estimate(
    model: Path, *, memory: int | None = None, batch: int = 1, inputs: Visibility = "public"
) -> Estimate:
    """The estimate for a model folder or an ONNX file, within `memory` bytes (default: nine tenths of this machine's).

    `batch`: how many samples one proof covers. `inputs`: what a proof shows of them.

    Raises `Malformed` (``model-refused``, ``model-unsupported``), `CouldNotCheck` (``model-too-large``).
    """
    network = model / "network.onnx" if model.is_dir() else model
    if not network.is_file():
        raise CouldNotCheck("file-missing", f"{network} is not there.")
    with tempfile.TemporaryDirectory(prefix="verinfer-estimate-") as home:
        limits = replace(heavy_limits(), wall_seconds=_SECONDS, cpu_seconds=_SECONDS * (os.cpu_count() or 1))
        place = Workplace(directory=Path(home), limits=limits)
        plain = place.directory / "plain.onnx"
        light = replace(place, limits=PARSE_LIMITS)
        light.onnx("adopt", model=network, output=plain)
        if batch > 1:
            plain = place.directory / "batched.onnx"
            light.onnx("batch", model=place.directory / "plain.onnx", output=plain, count=batch)
        try:
            return replace(_estimate(plain, place, memory or usable_memory(), inputs), batch=batch)
        except ChildFailed as failure:
            if failure.code not in _OUT:
                raise
            raise CouldNotCheck(
                "model-too-large", f"Counting the circuit's rows alone takes too much: {failure.message}"
            ) from failure


def _estimate(plain: Path, place: Workplace, memory: int, inputs: Visibility) -> Estimate:
    coefficients = load_coefficients()
    offers = _plain_offers(plain, coefficients, place, inputs)
    if min(offer.cost.prove_seconds for offer in offers) > tune.QUICK:
        offers += _lowered_offers(plain, place, inputs)
    fitting = [offer for offer in offers if fits(offer.cost, memory)]
    best = min(
        fitting or offers,
        key=lambda offer: offer.cost.prove_seconds if fitting else offer.cost.prove_bytes,
    )
    cost, rows = best.cost, best.settings["num_rows"]
    wrapped = place.directory / "best.onnx"
    rewrite_and_wrap(plain, best.rewrites.to_json(), best.run_args["input_scale"], wrapped, place, inputs)
    layers = profile(wrapped, best.run_args, place)
    if not fitting:
        raise CouldNotCheck(
            "model-too-large",
            f"The smallest circuit of this model has {rows:,} rows, k = {cost.logrows} and needs "
            f"{max(cost.prove_bytes, cost.setup_bytes) / 1e9:.1f} GB; there are {memory / 1e9:.1f} GB. "
            f"Most costly: {heaviest(layers)}.",
        )
    return Estimate(
        tuple(item["name"] for item in best.rewrites.to_json()),
        best.run_args,
        rows,
        cost,
        contract_bytes(count_columns(best.settings, uncompressed=prefers_uncompressed(best.settings))),
        layers,
        coefficients.machine,
    )


def contract_bytes(columns: Columns) -> int:
    """Roughly the size of a single verifier contract, from four that were compiled (1, 2, 4 and 8 inner columns)."""
    lookups = max(columns.arguments - 2 * columns.advice // 3, 0)
    return 7_600 + 900 * columns.advice + 500 * lookups


def _plain_offers(
    plain: Path, coefficients: Coefficients, place: Workplace, inputs: Visibility
) -> list[Offer]:
    """EZKL's own numbers, with all rewrites or none, whichever has fewer cells; raises what `explain` gives."""
    candidates = _candidates(inputs)
    probe = candidates[-1].run_args()
    best: tuple[int, Rewrites, Path] | None = None
    for rules in ((), rule_names(place)):
        rewrites, wrapped = Rewrites(rules), place.directory / f"wrapped-{len(rules)}.onnx"
        rewrite_and_wrap(plain, rewrites.to_json(), 0, wrapped, place, inputs)
        settings = count_rows(str(wrapped), [probe], place)[0]
        if settings is not None and (best is None or count_cells(settings) < best[0]):
            best = (count_cells(settings), rewrites, wrapped)
    if best is None:
        raise explain(plain, probe, place)
    _, rewrites, wrapped = best
    found = count_rows(str(wrapped), [item.run_args() for item in candidates], place)
    sized = [
        at
        for candidate, settings in zip(candidates, found, strict=True)
        if settings is not None
        for at in _sizes(candidate, settings)
    ]
    return [
        Offer(rewrites, candidate.run_args(), settings, predict(settings, coefficients))
        for candidate, settings in sized
    ]


def _lowered_offers(plain: Path, place: Workplace, inputs: Visibility) -> list[Offer]:
    """Lowerings at middling numbers, where the network can be lowered."""
    rules = rule_names(place)
    sites = lowering.read_sites(apply_rules(plain, rules, place), place)
    if sites is None:
        return []
    return [
        offer
        for paired in pairings(sites)
        for offer in shapes(plain, Rewrites(rules, _middling(sites, paired)), _TABLE, place, inputs)
    ]


def _middling(sites: Sites, paired: tuple[bool, ...]) -> Plan:
    return Plan(
        scale=_BITS,
        weights=tuple(item.exponent(_BITS + 1) for item in sites.products),
        fractions=tuple(_BITS for _ in sites.values),
        paired=paired,
    )


def _candidates(inputs: Visibility) -> list[Candidate]:
    return [
        Candidate(scale=scale, rebase=rebase, base=base, legs=legs, columns=columns, inputs=inputs)
        for scale, rebase, base, legs in _NUMBERS
        for columns in (1, 2)
    ]


def _sizes(candidate: Candidate, settings: dict[str, Any]) -> Iterator[tuple[Candidate, dict[str, Any]]]:
    """Every k worth a thought: tables and instances fit into one column, and columns are folded at most thrice."""
    tables = [high - low + 1 for low, high in settings["required_range_checks"]]
    if settings["required_lookups"]:
        low, high = settings["run_args"]["lookup_range"]
        tables.append(high - low + 1)
    least = max(8, math.ceil(math.log2(max(*tables, unfolded_rows(settings), 1) + _BLINDING_ROWS)))
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
        *([f"{'each sample':<14} {cost.prove_seconds / found.batch:.3g} s"] if found.batch > 1 else []),
        f"{'setup':<14} {cost.setup_seconds:.1f} s, {cost.setup_bytes / 1e6:,.0f} MB",
        f"{'pk, vk, proof':<14} {cost.pk_bytes / 1e6:,.1f} MB, {cost.vk_bytes / 1e3:,.1f} kB, {cost.proof_bytes:,} B",
        f"{'contract':<14} about {size:,} B{fits} (rough)",
        f"{'most costly':<14} {heaviest(found.layers)}",
        f"{'rewrites':<14} {', '.join(found.rewrites) or 'none'}",
        "",
        f"For an idle machine like the one measured: {machine}.",
        "At one choice of numbers; verinfer compile searches, and says what agrees with the model.",
    ]
    return "\n".join(lines)
