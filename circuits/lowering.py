"""Searches the numbers of a fixed-point lowering: the cheapest plans that still agree with the fp32 model.

Takes a rewritten network, its samples and fp32 outputs; gives plans in order of their cost, with what their tables take.
Plans are tried on the twin (`rewrite.fixed_point`), which computes what the circuit will, in milliseconds;
half of the samples decide, so that the other half still says something (`calibrate.measure` takes all, with EZKL).
Deterministic: grid, then one pass of descent over the first sixteen numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import ceil, log2
from pathlib import Path
from typing import Any

from .calibrate import MARGIN, Fidelity, Reference, agree, good
from .native import Workplace
from .plan import Plan, Product, Sites, Value, read_plan
from .targets import Targets

SCALES = (3, 4, 5, 6, 8)
ACTIVATION_BITS = (5, 6, 7, 8, 10)
WEIGHT_BITS = (4, 5, 6, 8, 11)
LARGEST_TABLE = 1 << 17
LEAST_SCALE, LEAST_BITS = 3, 3
"""What the search may come down to; below that a circuit has hardly any weights left."""
_SLACK = 1.1
"""Tables reach this much beyond what the samples, scaled by the margin, need."""

_FIRST, _SCREEN = 6, 24
_CHUNK = 12
_KEPT = 6
_MOST_STEPS = 16
"""Numbers that the descent tries to lower; an unrolled network has hundreds."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A plan that was tried: cells that depend on it, the range of its tables with the margin, and how it does."""

    plan: Plan
    cells: int
    low: int
    high: int
    fidelity: Fidelity

    def to_json(self) -> dict[str, Any]:
        """For the journal of a search."""
        return asdict(self)

    @property
    def table(self) -> int:
        """Entries of a table."""
        return self.high - self.low + 1

    @property
    def cost(self) -> int:
        """What plans are ordered by: cells, and the table that every circuit must have room for."""
        return self.cells + self.table


def read_trial(trial: Mapping[str, Any]) -> Trial:
    """A trial from its plain values."""
    return Trial(
        **{**trial, "plan": read_plan(trial["plan"]), "fidelity": Fidelity(**trial["fidelity"])},
    )


def read_sites(network: Path, place: Workplace) -> Sites | None:
    """The sites of a network, None if it cannot be lowered."""
    found = place.simulate("sites", model=network)
    if found is None:
        return None
    return Sites(
        tuple(Product(**item) for item in found["products"]), tuple(Value(**item) for item in found["values"])
    )


def fault_of(plan: Plan, sites: Sites) -> str | None:
    """Why nobody's search gave this plan to these sites, or None: what fp32 cannot show, since only EZKL rounds weights."""
    counts = (len(plan.weights), len(plan.paired), len(plan.fractions))
    if counts != (len(sites.products), len(sites.products), len(sites.values)):
        return "the lowering has other numbers than the network has places for them"
    if plan.scale < LEAST_SCALE:
        return f"the lowering's inputs have {plan.scale} fraction bits"
    for item, exponent in zip(sites.products, plan.weights, strict=True):
        bits = exponent + ceil(log2(item.largest)) + 1
        if not item.integral and bits < LEAST_BITS:
            return f"the largest weight of {item.name} has {bits} bits"
    return None


def search(
    network: Path,
    inputs: Path,
    sites: Sites,
    reference: Reference,
    targets: Targets,
    place: Workplace,
    on_progress: Callable[[float], None],
) -> list[Trial]:
    """Good plans, cheapest first; `inputs` is an NPZ of preprocessed samples whose first ones decide."""
    peaks: list[float] = place.simulate(
        "peaks", model=network, inputs=inputs, names=[value.name for value in sites.values]
    )
    expected = reference.outputs
    run = _Runner(network, inputs, reference, targets, place)
    grid = [
        _plan(sites, peaks, scale, activation, weight)
        for scale, activation, weight in product(SCALES, ACTIVATION_BITS, WEIGHT_BITS)
        if activation >= scale - 1
    ]
    grid = list(dict.fromkeys(grid))
    # Counted in samples, of which a forward pass has several in a batch.
    first, screen = (ceil(count / reference.batch) for count in (_FIRST, _SCREEN))
    decisive = max(len(expected) // 2, min(len(expected), screen))
    screened: list[Trial] = []
    for start in range(0, len(grid), _CHUNK):
        on_progress(0.6 * start / len(grid))
        chunk = [trial.plan for trial in run(grid[start : start + _CHUNK], first)]
        screened += run(chunk, screen) if chunk else []
    screened.sort(key=lambda trial: (trial.cost, trial.plan.to_json().__repr__()))
    kept: list[Trial] = []
    for start in range(0, len(screened), _KEPT):
        on_progress(0.6 + 0.2 * start / max(len(screened), 1))
        kept += run([trial.plan for trial in screened[start : start + _KEPT]], decisive)
        if len(kept) >= _KEPT:
            break
    if not kept:
        return []
    best = _descend(min(kept, key=lambda trial: trial.cost), run, decisive, on_progress)
    plans = list(dict.fromkeys(trial.plan for trial in [best, *sorted(kept, key=lambda trial: trial.cost)]))
    # All samples say how far tables must reach, and drop what only the first half agrees with.
    return sorted(run(plans[:_KEPT], len(expected)), key=lambda trial: trial.cost)


@dataclass(frozen=True, slots=True)
class _Runner:
    """Tries plans and keeps the good ones."""

    network: Path
    inputs: Path
    reference: Reference
    targets: Targets
    place: Workplace

    def __call__(self, plans: Iterable[Plan], most: int) -> list[Trial]:
        """The plans that agree on the first `most` samples, in the order given."""
        plans = list(plans)
        results: list[dict[str, Any]] = self.place.simulate(
            "simulate",
            model=self.network,
            plans=[plan.to_json() for plan in plans],
            inputs=self.inputs,
            most=most,
            margin=MARGIN,
        )
        trials = [_judge(plan, result, self.reference) for plan, result in zip(plans, results, strict=True)]
        # A layout has no negative scales: outputs that coarse are not worth having.
        fine = [min(result["fractions"]) >= 0 for result in results]
        return [
            trial
            for trial, is_fine in zip(trials, fine, strict=True)
            if is_fine and trial.table <= LARGEST_TABLE and good(trial.fidelity, self.reference, self.targets)
        ]


def _judge(plan: Plan, result: dict[str, Any], reference: Reference) -> Trial:
    ranges: Sequence[Sequence[int]] = list(result["ranges"].values())
    low = min((ceil(pair[0] * _SLACK) - 1 for pair in ranges), default=-1)
    high = max((ceil(pair[1] * _SLACK) + 1 for pair in ranges), default=1)
    outputs = result["outputs"]
    fidelity = agree(outputs, reference.outputs[: len(outputs)], reference.batch)
    return Trial(plan, result["cells"], low, high, fidelity)


def _plan(sites: Sites, peaks: Sequence[float], scale: int, activation: int, weight: int) -> Plan:
    """Every value takes `activation` bits at its largest, every weight `weight` bits."""
    fractions = tuple(
        # What a curve gives is at most 1, whatever it takes.
        activation - (0 if value.curve or peak <= 0 else ceil(log2(peak * MARGIN)))
        for value, peak in zip(sites.values, peaks, strict=True)
    )
    weights = tuple(item.exponent(weight) for item in sites.products)
    return Plan(scale, weights, fractions, (False,) * len(sites.products))


def _descend(best: Trial, run: _Runner, decisive: int, on_progress: Callable[[float], None]) -> Trial:
    """Take a bit from one number after another as long as the plan stays good and gets cheaper."""
    sites = [("weights", index) for index in range(len(best.plan.weights))]
    sites += [("fractions", index) for index in range(len(best.plan.fractions))]
    sites = sites[:_MOST_STEPS]
    for step, (name, index) in enumerate(sites):
        on_progress(0.8 + 0.2 * step / len(sites))
        numbers: tuple[int, ...] = getattr(best.plan, name)
        lower = tuple(number - (place == index) for place, number in enumerate(numbers))
        plan = replace(best.plan, weights=lower) if name == "weights" else replace(best.plan, fractions=lower)
        for trial in run([plan], decisive):
            if trial.cost < best.cost:
                best = trial
    return best
