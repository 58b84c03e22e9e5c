"""Chooses a circuit: which rewrites, which numbers, which shape; the cheapest that meets the targets.

Cheap is what is proved fast, or, if that is asked for, what takes little gas on chain, and of such circuits the fastest.

1. *rules*: those rewrites without which the network has more cells;
2. *numbers*: EZKL's own scales and decompositions (`candidates`), and a fixed-point lowering, where one can be (`lowering`);
3. *shape*: inner columns and k, priced by the cost model without making a key;
4. *fidelity*: EZKL's own forward pass on the samples, cheapest offer first, until one is good;
5. *proof*: the best few are set up and proved for real, as long as the budget lasts, and the fastest is taken.

Deterministic but for the last step's clock: without a budget for it, one model gives one choice.
What took long to find is in a journal, from which a search that was stopped goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.manifest import Visibility

from . import calibrate, lowering
from .calibrate import Fidelity, Reference
from .candidates import Candidate, count_rows, is_steady
from .cost import fits
from .journal import Journal
from .locate import explain
from .native import Workplace, usable_memory
from .offers import (
    Offer,
    Rewrites,
    affordable,
    count_cells,
    gas_step,
    order_of,
    pairings,
    plain_offers,
    rule_names,
    shapes,
)
from .stages import apply_rules, rewrite_and_wrap, same_function, write_tensors
from .targets import Targets

_PROBE = Candidate(scale=7, rebase=2, base=16384, legs=2)
"""Numbers at which rules are compared."""

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
class Point:
    """One offer on the frontier of accuracy against cost, for the card."""

    label: str
    logrows: int
    rows: int
    seconds: float
    prove_bytes: int
    verify_gas: int
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
    inputs: Visibility = "public",
) -> Choice:
    """The cheapest circuit that meets the targets on the samples; raises `CouldNotCheck` (``no-circuit``).

    `prove` sets an offer up and gives the seconds of a real proof, None where it cannot; it is asked until `deadline`,
    a time of `time.monotonic`.
    """
    if journal.resumed:
        on_progress("resume", 0.0)
    on_progress("rewrite", 0.0)
    rules = tuple(journal.once("rules", [], lambda: choose_rules(network, place)))
    order = partial(order_of, targets=targets)
    offers = plain_offers(network, rules, place, inputs, evm=targets.evm)
    if not offers or _seconds(offers, targets) > QUICK:
        # Cells are not all: with other rules another shape may be the cheapest.
        for others in [each for each in ((), rule_names(place)) if each != rules]:
            offers += plain_offers(network, others, place, inputs, evm=targets.evm)
        offers += _lowered_offers(network, reference, targets, place, journal, on_progress, inputs)
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
    cheap = sorted((offer for offer in fitting if affordable(offer, targets)), key=order)
    if not cheap:
        raise CouldNotCheck("no-circuit", "No circuit of this model fits the targets for memory and time.")
    judged = _judge(network, cheap, reference, targets, place, journal, on_progress)
    good = [item for item in judged if calibrate.good(item.fidelity, reference, targets)]
    if not good:
        raise _none_good(judged)
    proved = _prove(good, prove, deadline, journal, on_progress)
    best = min(proved, key=partial(_preference, targets=targets))
    frontier = [*proved, *(item for item in judged if item not in good)]
    points = tuple(_point(item, chosen=item is best) for item in frontier)
    return Choice(best.offer, best.fidelity, points, len(offers))


def choose_rules(network: Path, place: Workplace) -> tuple[str, ...]:
    """Those rules without which the network has more cells than with them and the others, in order.

    None where the network is so small that there is nothing to win.
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
    return kept


def _lowered_offers(
    network: Path,
    reference: Reference,
    targets: Targets,
    place: Workplace,
    journal: Journal,
    on_progress: Callable[[str, float], None],
    inputs: Visibility,
) -> list[Offer]:
    """Fixed-point lowerings, where the network can be lowered; after all rules, since each turns more of it into products."""
    wanted = rule_names(place)
    rewritten = apply_rules(network, wanted, place)
    sites = lowering.read_sites(rewritten, place)
    if sites is None:
        return []
    samples = place.directory / "tuning.npz"
    write_tensors(samples, reference.spec, reference.samples, place, reference.batch)

    def keeps_function(trial: lowering.Trial) -> bool:
        # A comparison of real numbers becomes a steep ramp, on which a sample may lie.
        compared = place.directory / "compared.onnx"
        rewrites = Rewrites(wanted, trial.plan).to_json()
        rewrite_and_wrap(network, rewrites, trial.plan.scale, compared, place)
        return same_function(network, compared, reference, place)

    def search() -> list[dict[str, Any]]:
        found = lowering.search(
            rewritten, samples, sites, reference, targets, place, lambda share: on_progress("numbers", share)
        )
        return [trial.to_json() for trial in found[:_MOST_PLANS] if keeps_function(trial)]

    offers = []
    for trial in map(lowering.read_trial, journal.once("numbers", wanted, search)):
        for paired in pairings(sites):
            plan = replace(trial.plan, paired=paired)
            rewrites, table = Rewrites(wanted, plan), (trial.low, trial.high)
            offers += shapes(network, rewrites, table, place, inputs, evm=targets.evm)
    return offers


def _seconds(offers: Sequence[Offer], targets: Targets) -> float:
    """What the fastest of these takes; for a chain, the fastest of those with the least gas."""
    least = min(gas_step(offer, targets) for offer in offers)
    return min(offer.cost.prove_seconds for offer in offers if gas_step(offer, targets) == least)


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
    written: tuple[Rewrites, str] | None = None
    for offer in offers:
        if _enough(offer, good, len(seen), targets):
            break
        on_progress("fidelity", len(seen) / _MOST_MEASURED)
        rewrites, args = offer.rewrites, offer.run_args
        # A lowering has its scale in its plan; without one the network is the same at every scale.
        if (rewrites, args["input_visibility"]) != written:
            rewrite_and_wrap(
                network, rewrites.to_json(), args["input_scale"], wrapped, place, args["input_visibility"]
            )
            written = (rewrites, args["input_visibility"])
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


def _enough(offer: Offer, good: Sequence[Offer], measured: int, targets: Targets) -> bool:
    """Whether neither this offer nor any dearer one is worth a measurement."""
    if not good:
        return measured >= _MOST_MEASURED
    best = good[0].cost.prove_seconds
    is_close = offer.cost.prove_seconds <= _CLOSE * best and gas_step(offer, targets) == gas_step(
        good[0], targets
    )
    return best <= QUICK or len(good) >= _MOST_PROVED or not is_close


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


def _preference(item: _Judged, targets: Targets) -> tuple[int, bool, float]:
    """Really proved ones first, by what that took; the others by estimate. For a chain gas comes before that."""
    seconds = item.offer.cost.prove_seconds if item.seconds is None else item.seconds
    return gas_step(item.offer, targets), item.seconds is None, seconds


def _point(item: _Judged, *, chosen: bool) -> Point:
    offer = item.offer
    return Point(
        label=offer.label,
        logrows=offer.run_args["logrows"],
        rows=offer.settings["num_rows"],
        seconds=offer.cost.prove_seconds if item.seconds is None else item.seconds,
        prove_bytes=offer.cost.prove_bytes,
        verify_gas=offer.cost.verify_gas,
        agreement=item.fidelity.agreement,
        error=item.fidelity.error,
        chosen=chosen,
    )
