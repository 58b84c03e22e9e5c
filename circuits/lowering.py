"""Searches the numbers of a fixed-point lowering: the cheapest plans that still agree with the fp32 model.

Takes a rewritten network, its samples and fp32 outputs; gives plans in order of their cost, with what their tables take.
Plans are tried on the twin (`rewrite.fixed_point`), which computes what the circuit will, in milliseconds;
half of the samples decide, so that the other half still says something (`calibrate.measure` takes all, with EZKL).
Deterministic: grid, then a descent, what spares most first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise, product
from math import ceil, inf, log2
from pathlib import Path
from typing import Any

from .calibrate import MARGIN, Fidelity, Reference, agree, good
from .native import Workplace
from .plan import CURVES, Plan, Product, Sites, Value, read_plan
from .targets import Targets

SCALES = (3, 4, 5, 6, 8)
ACTIVATION_BITS = (5, 6, 7, 8, 10)
WEIGHT_BITS = (4, 5, 6, 8, 11)
CURVE_BITS = (0, -2)
"""How many more bits than other values curves have after the point."""
EVEN_BITS = range(3, 11)
"""What `foresee` tries for everything."""
LARGEST_TABLE = 1 << 17
LEAST_SCALE, LEAST_BITS = 3, 3
"""What the search may come down to; below that a circuit has hardly any weights left."""
MOST_BITS = 128
"""More than any search gives: whoever rebuilds a stranger's lowering writes a node for each."""
_PLAIN = 4
"""What a cell costs without tables, counted in what each kind of table adds to it: its argument and its selector."""
_SLACK = 1.1
"""Tables reach this much beyond what the samples, scaled by the margin, need."""

_LOGARITHM = 2
"""Bits that logarithms have more than other values."""

_FIRST, _SCREEN = 6, 24
_CHUNK = 12
_KEPT = 6
_MOST_STEPS, _FEW_STEPS = 96, 16
"""Changes that the descent tries, and how many where all cells fit into the rows that the tables need anyway."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A plan that was tried: cells and tables, the range of its tables with the margin, and how it does."""

    plan: Plan
    cells: int
    tables: int
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
    def rows(self) -> int:
        """What every circuit must have for its tables, whatever its cells."""
        return 1 << self.table.bit_length()

    @property
    def cost(self) -> int:
        """What plans are ordered by: cells, or the rows that every circuit must have for its tables; dearer with each table."""
        return _dear(max(self.cells, self.rows) + (self.cells + self.table) // 4, self.tables)


def _dear(cells: int, tables: int) -> int:
    """Cells, dearer with each kind of table."""
    return cells * (_PLAIN + tables) // (_PLAIN + 1)


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
    if any(abs(number) > MOST_BITS for number in (*plan.weights, *plan.fractions)):
        return f"the lowering has numbers of more than {MOST_BITS} bits"
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
    peaks = _peaks(network, inputs, sites, place)
    expected = reference.outputs
    run = _Runner(network, inputs, reference, targets, place)
    grid = [
        _plan(sites, peaks, scale, activation, weight, curve)
        for scale, activation, weight, curve in product(SCALES, ACTIVATION_BITS, WEIGHT_BITS, CURVE_BITS)
        if activation >= scale - 1
    ]
    grid = list(dict.fromkeys(grid))
    # Counted in samples, of which a forward pass has several in a batch.
    first, screen = (ceil(count / reference.batch) for count in (_FIRST, _SCREEN))
    decisive = max(len(expected) // 2, min(len(expected), screen))
    screened: list[Trial] = []
    for start in range(0, len(grid), _CHUNK):
        on_progress(0.5 * start / len(grid))
        screened += run(grid[start : start + _CHUNK], first)
    screened.sort(key=lambda trial: (trial.cost, repr(trial.plan)))
    kept: list[Trial] = []
    for start in range(0, len(screened), _KEPT):
        on_progress(0.5 + 0.3 * start / len(screened))
        chunk = screened[start : start + _KEPT]
        for most in (screen, decisive):
            chunk = run([trial.plan for trial in chunk], most) if chunk else []
        kept += chunk
        if len(kept) >= _KEPT:
            break
    if not kept:
        return []
    ladder = _descend(min(kept, key=lambda trial: trial.cost), sites, run, decisive, on_progress)
    plans = list(
        dict.fromkeys(trial.plan for trial in [*ladder, *sorted(kept, key=lambda trial: trial.cost)])
    )
    # All samples say how far tables must reach, and drop what only the first half agrees with.
    passed: list[Trial] = []
    for start in range(0, len(plans), _KEPT):
        passed += run(plans[start : start + _KEPT], len(expected))
        if passed:
            break
    return sorted(passed, key=lambda trial: trial.cost)


def foresee(
    network: Path, inputs: Path, sites: Sites, reference: Reference, targets: Targets, place: Workplace
) -> Trial | None:
    """About what `search` would find, from a few trials; None where it would find nothing.

    Plans are tried in which everything has the same number of bits; a search comes down about a bit from the first good one.
    """
    peaks, every = _peaks(network, inputs, sites, place), len(reference.outputs)
    run = _Runner(network, inputs, reference, targets, place)
    even = [_plan(sites, peaks, min(bits, SCALES[-1]), bits, bits) for bits in EVEN_BITS]
    for below, plan in pairwise(even):
        for good_one in run([plan], every):
            cheaper = run.prices([below], every)[0]
            # With too few bits what a Softmax divides by may be zero, and its tables reach beyond all bounds.
            return cheaper if cheaper.table <= LARGEST_TABLE else good_one
    return None


def _peaks(network: Path, inputs: Path, sites: Sites, place: Workplace) -> list[float]:
    """The largest number that each value takes on the samples."""
    found: list[float] = place.simulate(
        "peaks", model=network, inputs=inputs, names=[value.name for value in sites.values]
    )
    return found


@dataclass(frozen=True, slots=True)
class _Runner:
    """Tries plans and keeps the good ones."""

    network: Path
    inputs: Path
    reference: Reference
    targets: Targets
    place: Workplace

    def prices(self, plans: Sequence[Plan], most: int = 1) -> list[Trial]:
        """What plans take, by the first `most` samples, however well they do."""
        return [trial for trial, _ in self._try(plans, most)]

    def __call__(self, plans: Sequence[Plan], most: int) -> list[Trial]:
        """The plans that agree on the first `most` samples, in the order given."""
        return [
            trial
            for trial, is_fine in self._try(plans, most)
            if is_fine and trial.table <= LARGEST_TABLE and good(trial.fidelity, self.reference, self.targets)
        ]

    def _try(self, plans: Sequence[Plan], most: int) -> list[tuple[Trial, bool]]:
        """Trials, and whether their outputs have fractions that a layout can say."""
        results: list[dict[str, Any]] = self.place.simulate(
            "simulate",
            model=self.network,
            plans=[plan.to_json() for plan in plans],
            inputs=self.inputs,
            most=most,
            margin=MARGIN,
        )
        # A layout has no negative scales: outputs that coarse are not worth having.
        return [
            (_judge(plan, result, self.reference), min(result["fractions"]) >= 0)
            for plan, result in zip(plans, results, strict=True)
        ]


def _judge(plan: Plan, result: dict[str, Any], reference: Reference) -> Trial:
    ranges: Sequence[Sequence[int]] = list(result["ranges"].values())
    low = min((ceil(pair[0] * _SLACK) - 1 for pair in ranges), default=-1)
    high = max((ceil(pair[1] * _SLACK) + 1 for pair in ranges), default=1)
    outputs = result["outputs"]
    fidelity = agree(outputs, reference.outputs[: len(outputs)], reference.batch)
    return Trial(plan, result["cells"], result["tables"], low, high, fidelity)


def _plan(
    sites: Sites, peaks: Sequence[float], scale: int, activation: int, weight: int, curve: int = 0
) -> Plan:
    """Every value takes `activation` bits at its largest, every weight `weight` bits."""

    def fraction(value: Value, peak: float) -> int:
        whole = ceil(log2(peak * MARGIN)) if 0 < peak < inf else 0
        match value.kind:
            case "label":
                return activation + (curve if value.name == CURVES else _LOGARITHM)
            case "curve":
                # What a curve gives is at most 1, whatever it takes.
                return activation + curve
            case "state":
                return min(activation + curve, activation - whole)
            case "squares" | "sum":
                return 2 * activation - whole
            case _:
                return activation - whole

    fractions = tuple(fraction(value, peak) for value, peak in zip(sites.values, peaks, strict=True))
    weights = tuple(item.exponent(weight) for item in sites.products)
    return Plan(scale, weights, fractions, (False,) * len(sites.products))


_Move = tuple[str, tuple[int, ...], int]
"""Which numbers of a plan are changed together, and by how much."""


def _moves(sites: Sites) -> list[_Move]:
    """A bit less for each number; labels, with what only curves take, may gain one too."""
    moves: list[_Move] = [("weights", (index,), -1) for index in range(len(sites.products))]
    curves = [index for index, value in enumerate(sites.values) if value.kind == "curve"]
    for index, value in enumerate(sites.values):
        moves.append(("fractions", (index,), -1))
        if value.kind == "label":
            together = (index, *(curves if value.name == CURVES else ()))
            moves += [("fractions", together, step) for step in (-1, 1)]
    return list(dict.fromkeys(moves))


def _moved(plan: Plan, move: _Move) -> Plan:
    name, places, step = move
    numbers: tuple[int, ...] = getattr(plan, name)
    changed = tuple(number + step * (place in places) for place, number in enumerate(numbers))
    return replace(plan, weights=changed) if name == "weights" else replace(plan, fractions=changed)


def _descend(
    best: Trial, sites: Sites, run: _Runner, decisive: int, on_progress: Callable[[float], None]
) -> list[Trial]:
    """Change one number after another as long as the plan stays good and gets cheaper; all that were best, the last first.

    Those come first that spare most, by the cells of one sample.
    """
    ladder, moves, tried = [best], _moves(sites), 0
    while tried < (_MOST_STEPS if best.cells > best.rows else _FEW_STEPS):
        # What a plan costs does not depend on how well it does.
        priced = run.prices([_moved(best.plan, move) for move in moves])
        costs = {move: trial.cost for move, trial in zip(moves, priced, strict=True)}
        hopeful = sorted((move for move in costs if costs[move] < best.cost), key=lambda move: costs[move])
        before = best
        for move in hopeful:
            if tried >= (_MOST_STEPS if best.cells > best.rows else _FEW_STEPS):
                break
            tried += 1
            on_progress(0.8 + 0.2 * tried / _MOST_STEPS)
            for trial in run([_moved(best.plan, move)], decisive):
                if trial.cost < best.cost:
                    best = trial
                    ladder.insert(0, best)
        if best is before:
            break
    return ladder
