"""Chooses a circuit: which rewrites, which numbers, which shape; the cheapest that meets the targets.

1. *rules*: those rewrites without which the network has more cells;
2. *numbers*: EZKL's own scales and decompositions (`candidates`), and a fixed-point lowering, where one can be (`lowering`);
3. *shape*: inner columns and k, priced by the cost model without making a key;
4. *fidelity*: EZKL's own forward pass on the samples, cheapest offer first, until one is good;
5. *proof*: the best few are set up and proved for real, as long as the budget lasts, and the fastest is taken.

Deterministic but for the last step's clock: without a budget for it, one model gives one choice.
What took long to find is in a journal, from which a search that was stopped goes on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from verinfer.verifier.errors import CouldNotCheck

from . import calibrate, lowering
from .calibrate import Fidelity, Reference
from .candidates import Candidate, count_all, count_instances, count_rows, is_steady
from .cost import Cost, fits, load_coefficients, predict
from .journal import Journal
from .locate import explain
from .native import Workplace, usable_memory
from .plan import PARAM_SCALE, Plan, Sites
from .stages import LOWERING, apply_rules, rewrite_and_wrap, same_function, write_tensors
from .targets import Targets

_PROBE = Candidate(scale=7, rebase=2, base=16384, legs=2)
"""Numbers at which rules are compared."""

_NEVER = 1000
"""A rebase multiplier at which EZKL never rebases: a lowered network does it itself."""

MAKE_PRODUCTS = ("fold", "batch-normalisation", "gemm", "average-pool", "global-average-pool", "convolution")
"""Rules that turn layers into products, which are what can be lowered, whatever they win alone."""

_LARGE_PRODUCT = 4096
"""Weights of a product of one row from which on its place is worth a thought."""

_BLINDING_ROWS = 24
QUICK = 0.8
"""Seconds of proving below which nothing is searched any further."""

_FEW_CELLS = 12_000
"""A network of fewer cells is left as it is: nothing of it is worth a rewrite."""

_MOST_PLANS = 2
_MOST_MEASURED = 40
_MOST_PROVED = 3
_CLOSE = 1.4
"""Offers that are estimated within this factor of the best are worth a real proof."""


@dataclass(frozen=True, slots=True)
class Rewrites:
    """What was done to the given network: the rules by name, and a lowering's numbers."""

    rules: tuple[str, ...] = ()
    plan: Plan | None = None

    def to_json(self) -> list[dict[str, Any]]:
        """As the manifest has it; the scale of a lowering is the run args' input scale."""
        listed: list[dict[str, Any]] = [{"name": name} for name in self.rules]
        if self.plan is not None:
            listed.append(
                {
                    "name": LOWERING,
                    "weights": list(self.plan.weights),
                    "fractions": list(self.plan.fractions),
                    "paired": [int(flag) for flag in self.plan.paired],
                }
            )
        return listed


@dataclass(frozen=True, slots=True)
class Offer:
    """A circuit that could be made, and what it would cost."""

    rewrites: Rewrites
    run_args: dict[str, Any]
    settings: dict[str, Any]
    cost: Cost

    @property
    def numbers(self) -> str:
        """What decides the values that the circuit computes, as one text."""
        args = {name: self.run_args[name] for name in _NUMBERS}
        plan = replace(self.rewrites.plan, paired=()) if self.rewrites.plan else None
        return json.dumps([args, plan.to_json() if plan else None], sort_keys=True)

    @property
    def label(self) -> str:
        """A short name for people."""
        args = self.run_args
        how = (
            f"tables, scale {args['input_scale']}, {sum(self.rewrites.plan.paired)} paired"
            if self.rewrites.plan
            else f"scale {args['input_scale']}, x{args['scale_rebase_multiplier']}"
        )
        return f"{how}, k={args['logrows']}, {args['num_inner_cols']} col, base {args['decomp_base']}^{args['decomp_legs']}"


_NUMBERS = ("input_scale", "param_scale", "scale_rebase_multiplier", "decomp_base", "decomp_legs")


@dataclass(frozen=True, slots=True)
class Point:
    """One offer on the frontier of accuracy against cost, for the card."""

    label: str
    logrows: int
    rows: int
    seconds: float
    prove_bytes: int
    agreement: float
    error: float
    chosen: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen circuit, how well it does, and what else was looked at."""

    offer: Offer
    fidelity: Fidelity
    frontier: tuple[Point, ...]
    offers: int


def choose(
    network: Path,
    reference: Reference,
    targets: Targets,
    place: Workplace,
    *,
    prove: Callable[[Offer], float | None],
    deadline: float,
    journal: Journal,
    on_progress: Callable[[str, float], None],
) -> Choice:
    """The cheapest circuit that meets the targets on the samples; raises `CouldNotCheck` (``no-circuit``).

    `prove` sets an offer up and gives the seconds of a real proof, None where it cannot; it is asked until `deadline`,
    a time of `time.monotonic`.
    """
    if journal.resumed:
        on_progress("resume", 0.0)
    on_progress("rewrite", 0.0)
    rules = tuple(journal.once("rules", [], lambda: choose_rules(network, place)))
    offers = _plain_offers(network, rules, place)
    if not offers or min(offer.cost.prove_seconds for offer in offers) > QUICK:
        offers += _lowered_offers(network, rules, reference, targets, place, journal, on_progress)
    if not offers:
        raise explain(network, _PROBE.run_args(), place)
    fitting = [offer for offer in offers if fits(offer.cost, usable_memory())]
    if not fitting:
        least = min(max(offer.cost.prove_bytes, offer.cost.setup_bytes) for offer in offers)
        raise CouldNotCheck(
            "model-too-large",
            f"The smallest circuit of this model needs {least / 1e9:.1f} GB, more than there are; "
            "'verinfer estimate' says which layers cost most.",
        )
    cheap = sorted((offer for offer in fitting if affordable(offer, targets)), key=_order)
    if not cheap:
        raise CouldNotCheck("no-circuit", "No circuit of this model fits the targets for memory and time.")
    judged = _judge(network, cheap, reference, targets, place, journal, on_progress)
    good = [item for item in judged if calibrate.good(item.fidelity, reference, targets)]
    if not good:
        raise _none_good(judged)
    proved = _prove(good, prove, deadline, journal, on_progress)
    best = min(proved, key=_preference)
    frontier = [*proved, *(item for item in judged if item not in good)]
    points = tuple(_point(item, chosen=item is best) for item in frontier)
    return Choice(best.offer, best.fidelity, points, len(offers))


def choose_rules(network: Path, place: Workplace) -> tuple[str, ...]:
    """Those rules without which the network has more cells, in order.

    None where all of them together win nothing, or the network is so small that there is nothing to win.
    """
    cells: dict[tuple[str, ...], float] = {}

    def count(rules: tuple[str, ...]) -> float:
        if rules not in cells:
            wrapped = place.directory / "rules.onnx"
            rewrite_and_wrap(network, Rewrites(rules).to_json(), 0, wrapped, place)
            found = count_rows(str(wrapped), [_PROBE.run_args()], place)[0]
            cells[rules] = math.inf if found is None else count_cells(found)
        return cells[rules]

    if count(()) < _FEW_CELLS:
        return ()
    kept = names = tuple(place.simulate("rules_that_apply", model=network))
    for name in reversed(names):
        fewer = tuple(rule for rule in kept if rule != name)
        if count(fewer) <= count(kept):
            kept = fewer
    return kept if count(kept) < count(()) else ()


def rule_names(place: Workplace) -> tuple[str, ...]:
    """The rules that this version knows, in the order of application."""
    return tuple(place.simulate("rule_names"))


def count_cells(settings: dict[str, Any]) -> int:
    """Cells of the main columns and of Freivalds' argument."""
    return int(settings["total_assignments"]) + int(settings["einsum_params"]["total_einsum_col_size"])


def _plain_offers(network: Path, rules: tuple[str, ...], place: Workplace) -> list[Offer]:
    """EZKL's own numbers on the rewritten network."""
    wrapped = place.directory / "plain.onnx"
    rewrite_and_wrap(network, Rewrites(rules).to_json(), 0, wrapped, place)
    found = count_all(str(wrapped), place)
    coefficients = load_coefficients()
    return [
        Offer(Rewrites(rules), candidate.run_args(), settings, predict(settings, coefficients))
        for candidate, settings in found
    ]


def _lowered_offers(
    network: Path,
    rules: tuple[str, ...],
    reference: Reference,
    targets: Targets,
    place: Workplace,
    journal: Journal,
    on_progress: Callable[[str, float], None],
) -> list[Offer]:
    """Fixed-point lowerings, where the network can be lowered."""
    wanted = tuple(rule for rule in rule_names(place) if rule in {*rules, *MAKE_PRODUCTS})
    rewritten = apply_rules(network, wanted, place)
    sites = lowering.read_sites(rewritten, place)
    if sites is None:
        return []
    inputs = place.directory / "tuning.npz"
    write_tensors(inputs, reference.spec, reference.samples, place)

    def keeps_function(trial: lowering.Trial) -> bool:
        # A comparison of real numbers becomes a steep ramp, on which a sample may lie.
        compared = place.directory / "compared.onnx"
        rewrites = Rewrites(wanted, trial.plan).to_json()
        rewrite_and_wrap(network, rewrites, trial.plan.scale, compared, place)
        return same_function(network, compared, reference, place)

    def search() -> list[dict[str, Any]]:
        found = lowering.search(
            rewritten, inputs, sites, reference, targets, place, lambda share: on_progress("numbers", share)
        )
        return [trial.to_json() for trial in found[:_MOST_PLANS] if keeps_function(trial)]

    offers = []
    for trial in map(lowering.read_trial, journal.once("numbers", wanted, search)):
        for paired in pairings(sites):
            plan = replace(trial.plan, paired=paired)
            offers += shapes(network, Rewrites(wanted, plan), (trial.low, trial.high), place)
    return offers


def pairings(sites: Sites) -> list[tuple[bool, ...]]:
    """Which large products of one row are worth a try in Freivalds' columns, where there may be room."""
    large = [
        index
        for index, item in enumerate(sites.products)
        if item.rows == 1 and item.terms * item.columns >= _LARGE_PRODUCT
    ][:3]
    chosen = [subset for count in range(len(large) + 1) for subset in combinations(large, count)]
    return [tuple(index in subset for index in range(len(sites.products))) for subset in chosen]


@dataclass(frozen=True, slots=True)
class Form:
    """Inner columns, and whether products may use Freivalds' argument and its columns."""

    columns: int
    freivalds: bool


def shapes(network: Path, rewrites: Rewrites, table: tuple[int, int], place: Workplace) -> list[Offer]:
    """A lowering in every shape that could be the cheapest; `table`: the least and largest number of its tables."""
    assert rewrites.plan is not None
    wrapped = place.directory / "lowered.onnx"
    rewrite_and_wrap(network, rewrites.to_json(), rewrites.plan.scale, wrapped, place)
    least = max(9, math.ceil(math.log2(max(table[1] - table[0] + 1, 256) + _BLINDING_ROWS)))
    forms = [Form(columns, freivalds) for columns in (1, 2) for freivalds in (True, False)]
    probes = count_rows(
        str(wrapped), [run_args_of(rewrites.plan, table, form, least) for form in forms], place
    )
    coefficients = load_coefficients()
    offers = []
    for form, settings in zip(forms, probes, strict=True):
        if settings is None:
            continue
        least = max(least, math.ceil(math.log2(count_instances(settings) + _BLINDING_ROWS)))
        most = max(least, math.ceil(math.log2(settings["num_rows"] + _BLINDING_ROWS)))
        for logrows in range(max(least, most - 2), most + 1):
            args = run_args_of(rewrites.plan, table, form, logrows)
            sized = {**settings, "run_args": {**settings["run_args"], "logrows": logrows}}
            offers.append(Offer(rewrites, args, sized, predict(sized, coefficients)))
    return offers


def run_args_of(plan: Plan, table: tuple[int, int], form: Form, logrows: int) -> dict[str, Any]:
    """The run args of a lowering: its tables, EZKL's rebasing off, and a decomposition that only edges use."""
    args = Candidate(
        scale=plan.scale, rebase=_NEVER, base=256, legs=2, columns=form.columns, logrows=logrows
    ).run_args()
    return {
        **args,
        "param_scale": PARAM_SCALE,
        "lookup_range": list(table),
        "disable_freivalds": not form.freivalds,
    }


def affordable(offer: Offer, targets: Targets) -> bool:
    """Whether an offer is estimated to cost no more than was asked for."""
    return (targets.memory_bytes is None or offer.cost.prove_bytes <= targets.memory_bytes) and (
        targets.seconds is None or offer.cost.prove_seconds <= targets.seconds
    )


def _order(offer: Offer) -> tuple[int, int, str]:
    """Cheapest first; within a tenth, shorter proofs, which verify faster."""
    tenths = math.floor(math.log(offer.cost.prove_seconds) / math.log(1.1))
    return tenths, offer.cost.proof_bytes, offer.label


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """An offer that EZKL computed the samples with, and the seconds of a real proof where one was made."""

    offer: Offer
    fidelity: Fidelity
    seconds: float | None = None


def _judge(
    network: Path,
    offers: Sequence[Offer],
    reference: Reference,
    targets: Targets,
    place: Workplace,
    journal: Journal,
    on_progress: Callable[[str, float], None],
) -> list[_Judged]:
    """Measure offers, cheapest first, until those that are good and worth a real proof are known."""
    judged: list[_Judged] = []
    good: list[Offer] = []
    seen: dict[str, Fidelity | None] = {}
    wrapped = place.directory / "measured.onnx"
    for offer in offers:
        if _enough(offer, good, len(seen)):
            break
        on_progress("fidelity", len(seen) / _MOST_MEASURED)
        rewrite_and_wrap(network, offer.rewrites.to_json(), offer.run_args["input_scale"], wrapped, place)
        # Of these very run args: the offer's are of another candidate of the same shape.
        settings = count_rows(str(wrapped), [offer.run_args], place)[0]
        if settings is None or not is_steady(settings):
            continue
        if offer.numbers not in seen:
            measured = partial(
                calibrate.screened, str(wrapped), offer.run_args, settings, reference, targets, place
            )
            seen[offer.numbers] = _remembered(offer, measured, journal)
        if (fidelity := seen[offer.numbers]) is None:
            continue
        judged.append(_Judged(replace(offer, settings=settings), fidelity))
        if calibrate.good(fidelity, reference, targets):
            good.append(offer)
    return judged


def _remembered(offer: Offer, measure: Callable[[], Fidelity | None], journal: Journal) -> Fidelity | None:
    def find() -> dict[str, Any] | None:
        fidelity = measure()
        return None if fidelity is None else asdict(fidelity)

    # What is out of range costs little to find again, and may have been a passing trouble.
    found = journal.once(
        "fidelity", [offer.rewrites.rules, offer.numbers], find, keep=lambda found: found is not None
    )
    return None if found is None else Fidelity(**found)


def _enough(offer: Offer, good: Sequence[Offer], measured: int) -> bool:
    """Whether neither this offer nor any dearer one is worth a measurement."""
    if not good:
        return measured >= _MOST_MEASURED
    best = good[0].cost.prove_seconds
    return best <= QUICK or len(good) >= _MOST_PROVED or offer.cost.prove_seconds > _CLOSE * best


def _none_good(judged: Sequence[_Judged]) -> CouldNotCheck:
    if not judged:
        what = "none stays in range"
    else:
        best = max(item.fidelity.agreement for item in judged)
        error = min(item.fidelity.error for item in judged)
        what = f"the best agrees on {best:.2%}, least error {error:.3g}"
    return CouldNotCheck("no-circuit", f"No choice of numbers agrees with the fp32 model: {what}.")


def _prove(
    good: Sequence[_Judged],
    prove: Callable[[Offer], float | None],
    deadline: float,
    journal: Journal,
    on_progress: Callable[[str, float], None],
) -> list[_Judged]:
    """The same offers, with the seconds of real proofs for those that there was time for."""
    proved = []
    for index, item in enumerate(good):
        cost, seconds = item.offer.cost, None
        if len(good) > 1 and time.monotonic() + 4 * (cost.prove_seconds + cost.setup_seconds) <= deadline:
            on_progress("trial proofs", index / len(good))
            question = [item.offer.rewrites.to_json(), item.offer.run_args]
            seconds = journal.once(
                "proof", question, partial(prove, item.offer), keep=lambda found: found is not None
            )
        proved.append(replace(item, seconds=seconds))
    return proved


def _preference(item: _Judged) -> tuple[bool, float]:
    """Really proved ones first, by what that took; the others by estimate."""
    return item.seconds is None, item.offer.cost.prove_seconds if item.seconds is None else item.seconds


def _point(item: _Judged, *, chosen: bool) -> Point:
    offer = item.offer
    return Point(
        label=offer.label,
        logrows=offer.run_args["logrows"],
        rows=offer.settings["num_rows"],
        seconds=offer.cost.prove_seconds if item.seconds is None else item.seconds,
        prove_bytes=offer.cost.prove_bytes,
        agreement=item.fidelity.agreement,
        error=item.fidelity.error,
        chosen=chosen,
    )
