"""What a model's circuit would take, before anything heavy: k, rows, memory, key sizes, time; or that it cannot fit.

Takes a model folder or an ONNX file; gives an `Estimate` within seconds, or raises ``model-too-large`` with the layers to blame.
It counts cells at a few choices of numbers: EZKL's own, and those of a lowering. Which of a lowering's are good enough is for
samples to say: with a model folder's they are foreseen, without any they are middling ones. `verinfer compile` searches.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.manifest import Visibility

from . import gas, lowering, tune
from .batching import group
from .calibrate import Reference
from .candidates import LOOKUPS, Candidate, count_rows, unfolded_rows
from .cost import Coefficients, Cost, fits, load_coefficients, predict
from .locate import explain
from .model import read_model
from .native import PARSE_LIMITS, Workplace, heavy_limits, usable_memory
from .offers import Offer, Rewrites, pairings, rule_names, shapes
from .plan import Plan, Sites
from .profile import Layer, heaviest, profile
from .stages import apply_rules, rewrite_and_wrap, write_tensors
from .targets import Targets

_NUMBERS = ((7, 2, 256, 3, LOOKUPS[-1]), (6, 1, 4096, 2, LOOKUPS[0]), (7, 2, 16384, 2, LOOKUPS[-1]))
"""Scale, rebase multiplier, base, legs, and how far tables of curves reach: for small circuits, for curves, for large ones."""

_BITS = 5
_TABLE = (-4096, 4096)
"""What lowerings of the benchmark models were found to need, roughly: numbers of few bits, and tables for their sums."""

_SAMPLES = 300
"""Enough to tell 99.5 % from 98 %, in a second for each trial."""

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
            "layers": [layer.to_json() for layer in self.layers],
            "machine": dict(self.machine),
        }


def estimate(
    model: Path, *, memory: int | None = None, batch: int = 1, inputs: Visibility = "public"
) -> Estimate:
    """The estimate for a model folder or an ONNX file, within `memory` bytes (default: nine tenths of this machine's).

    `batch`: how many samples one proof covers. `inputs`: what a proof shows of them.

    Raises `Malformed` (``model-refused``, ``model-unsupported``), `CouldNotCheck` (``model-too-large``), and what
    `read_model` raises of a folder whose samples are needed.
    """
    network = model / "network.onnx" if model.is_dir() else model
    if not network.is_file():
        raise CouldNotCheck("file-missing", f"{network} is not there.")
    with tempfile.TemporaryDirectory(prefix="verinfer-estimate-") as home:
        limits = heavy_limits()._replace(wall_seconds=_SECONDS, cpu_seconds=_SECONDS * (os.cpu_count() or 1))
        place = Workplace(directory=Path(home), limits=limits)
        plain = place.directory / "plain.onnx"
        light = replace(place, limits=PARSE_LIMITS)
        light.onnx("adopt", model=network, output=plain)
        if batch > 1:
            plain = place.directory / "batched.onnx"
            light.onnx("batch", model=place.directory / "plain.onnx", output=plain, count=batch)
        try:
            read_reference = partial(_reference, model, light, batch)
            return replace(
                _estimate(plain, place, memory or usable_memory(), inputs, read_reference), batch=batch
            )
        except ChildFailed as failure:
            if failure.code not in _OUT:
                raise
            raise CouldNotCheck(
                "model-too-large", f"Counting the circuit's rows alone takes too much: {failure.message}"
            ) from failure


def _estimate(
    plain: Path,
    place: Workplace,
    memory: int,
    inputs: Visibility,
    read_reference: Callable[[], Reference | None],
) -> Estimate:
    coefficients = load_coefficients()
    offers = _plain_offers(plain, coefficients, place, inputs)
    if min(offer.cost.prove_seconds for offer in offers) > tune.QUICK:
        offers += _lowered_offers(plain, place, inputs, read_reference())
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
        layers,
        coefficients.machine,
    )


def _reference(folder: Path, place: Workplace, batch: int) -> Reference | None:
    """The first samples of a model folder and fp32's outputs, by `batch`; None where there are none, or too few."""
    if not all((folder / name).is_file() for name in ("spec.json", "samples.npz")):
        return None
    whole = read_model(folder, place).reference
    samples = {name: rows[:_SAMPLES] for name, rows in whole.samples.items()}
    first = replace(whole, samples=samples, outputs=whole.outputs[:_SAMPLES])
    grouped = group(first, batch) if batch > 1 else first
    return grouped if grouped.outputs else None


def _plain_offers(
    plain: Path, coefficients: Coefficients, place: Workplace, inputs: Visibility
) -> list[Offer]:
    """EZKL's own numbers, with all rewrites and with none; raises what `explain` gives."""
    candidates = _candidates(inputs)
    offers = []
    for rules in ((), rule_names(place)):
        rewrites, wrapped = Rewrites(rules), place.directory / f"wrapped-{len(rules)}.onnx"
        rewrite_and_wrap(plain, rewrites.to_json(), 0, wrapped, place, inputs)
        found = count_rows(str(wrapped), [item.run_args() for item in candidates], place)
        for candidate, settings in zip(candidates, found, strict=True):
            for sized, at in _sizes(candidate, settings) if settings is not None else ():
                offers.append(Offer(rewrites, sized.run_args(), at, predict(at, coefficients)))
    if not offers:
        raise explain(plain, candidates[-1].run_args(), place)
    return offers


def _lowered_offers(
    plain: Path, place: Workplace, inputs: Visibility, reference: Reference | None
) -> list[Offer]:
    """Lowerings where the network can be lowered: at numbers foreseen from samples, else at middling ones."""
    rules = rule_names(place)
    rewritten = apply_rules(plain, rules, place)
    sites = lowering.read_sites(rewritten, place)
    if sites is None:
        return []
    plan, table = _middling(sites), _TABLE
    if reference is not None:
        samples = place.directory / "samples.npz"
        write_tensors(samples, reference.spec, reference.samples, place, reference.batch)
        trial = lowering.foresee(rewritten, samples, sites, reference, Targets(), place)
        if trial is None:
            return []
        plan, table = trial.plan, (trial.low, trial.high)
    return [
        offer
        for paired in pairings(sites)
        for offer in shapes(plain, Rewrites(rules, replace(plan, paired=paired)), table, place, inputs)
    ]


def _middling(sites: Sites) -> Plan:
    return Plan(
        scale=_BITS,
        weights=tuple(item.exponent(_BITS + 1) for item in sites.products),
        fractions=tuple(_BITS for _ in sites.values),
        paired=(False,) * len(sites.products),
    )


def _candidates(inputs: Visibility) -> list[Candidate]:
    return [
        Candidate(
            scale=scale, rebase=rebase, base=base, legs=legs, lookup=lookup, columns=columns, inputs=inputs
        )
        for scale, rebase, base, legs, lookup in _NUMBERS
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
    cost = found.cost
    machine = f"{coefficients.machine.get('processor')}, {coefficients.machine.get('cores')} cores"
    lines = [
        f"{'rows, k':<14} {found.rows:,}, {cost.logrows} ({cost.blocks} blocks of columns)",
        f"{'prove':<14} {cost.prove_seconds:.1f} s, {cost.prove_bytes / 1e6:,.0f} MB",
        *([f"{'each sample':<14} {cost.prove_seconds / found.batch:.3g} s"] if found.batch > 1 else []),
        f"{'setup':<14} {cost.setup_seconds:.1f} s, {cost.setup_bytes / 1e6:,.0f} MB",
        f"{'pk, vk, proof':<14} {cost.pk_bytes / 1e6:,.1f} MB, {cost.vk_bytes / 1e3:,.1f} kB, {cost.proof_bytes:,} B",
        f"{'on chain':<14} {gas.as_text(cost.verify_gas, cost.contract_bytes)}",
        f"{'most costly':<14} {heaviest(found.layers)}",
        f"{'rewrites':<14} {', '.join(found.rewrites) or 'none'}",
        "",
        f"For an idle machine like the one measured: {machine}.",
        "At one choice of numbers; verinfer compile searches, and says what agrees with the model.",
    ]
    return "\n".join(lines)
