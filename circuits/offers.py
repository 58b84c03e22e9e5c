"""Circuits that could be made of a network, and what each would cost by the cost model, without making a key."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from verinfer.verifier.manifest import Visibility

from .candidates import Candidate, count_all, count_rows, unfolded_rows
from .cost import Cost, load_coefficients, predict
from .native import Workplace
from .plan import PARAM_SCALE, Plan, Sites
from .stages import LOWERING, rewrite_and_wrap
from .targets import Targets

_NEVER = 1000
"""A rebase multiplier at which EZKL never rebases: a lowered network does it itself."""

_LARGE_PRODUCT = 4096
"""Weights of a product of one row from which on its place is worth a thought."""

_BLINDING_ROWS = 24

_GAS_STEP = 1.05


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
        """What decides the values that the circuit computes, and whether its tables hold them, as one text."""
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


_NUMBERS = (
    "input_scale",
    "param_scale",
    "scale_rebase_multiplier",
    "decomp_base",
    "decomp_legs",
    "lookup_range",
)


def rule_names(place: Workplace) -> tuple[str, ...]:
    """The rules that this version knows, in the order of application."""
    return tuple(place.simulate("rule_names"))


def count_cells(settings: dict[str, Any]) -> int:
    """Cells of the main columns and of Freivalds' argument."""
    return int(settings["total_assignments"]) + int(settings["einsum_params"]["total_einsum_col_size"])


def plain_offers(
    network: Path,
    rules: tuple[str, ...],
    place: Workplace,
    inputs: Visibility = "public",
    *,
    evm: bool = False,
) -> list[Offer]:
    """EZKL's own numbers on the rewritten network."""
    wrapped = place.directory / "plain.onnx"
    rewrite_and_wrap(network, Rewrites(rules).to_json(), 0, wrapped, place, inputs)
    found = count_all(str(wrapped), place, inputs, evm=evm)
    coefficients = load_coefficients()
    return [
        Offer(Rewrites(rules), candidate.run_args(), settings, predict(settings, coefficients, evm=evm))
        for candidate, settings in found
    ]


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


def shapes(
    network: Path,
    rewrites: Rewrites,
    table: tuple[int, int],
    place: Workplace,
    inputs: Visibility = "public",
    *,
    evm: bool = False,
) -> list[Offer]:
    """A lowering in every shape that could be the cheapest; `table`: the least and largest number of its tables."""
    assert rewrites.plan is not None
    wrapped = place.directory / "lowered.onnx"
    rewrite_and_wrap(network, rewrites.to_json(), rewrites.plan.scale, wrapped, place, inputs)
    least = max(9, math.ceil(math.log2(max(table[1] - table[0] + 1, 256) + _BLINDING_ROWS)))
    forms = [Form(columns, freivalds) for columns in (1, 2) for freivalds in (True, False)]
    probes = count_rows(
        str(wrapped), [run_args_of(rewrites.plan, table, form, least, inputs) for form in forms], place
    )
    coefficients = load_coefficients()
    offers = []
    for form, settings in zip(forms, probes, strict=True):
        if settings is None:
            continue
        least = max(least, math.ceil(math.log2(unfolded_rows(settings) + _BLINDING_ROWS)))
        most = max(least, math.ceil(math.log2(settings["num_rows"] + _BLINDING_ROWS)))
        for logrows in range(max(least, most - 2), most + 1):
            args = run_args_of(rewrites.plan, table, form, logrows, inputs)
            sized = {**settings, "run_args": {**settings["run_args"], "logrows": logrows}}
            offers.append(Offer(rewrites, args, sized, predict(sized, coefficients, evm=evm)))
    return offers


def run_args_of(
    plan: Plan, table: tuple[int, int], form: Form, logrows: int, inputs: Visibility = "public"
) -> dict[str, Any]:
    """The run args of a lowering: its tables, EZKL's rebasing off, and a decomposition that only edges use."""
    args = Candidate(
        scale=plan.scale,
        rebase=_NEVER,
        base=256,
        legs=2,
        columns=form.columns,
        logrows=logrows,
        inputs=inputs,
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


def order_of(offer: Offer, targets: Targets) -> tuple[int, int, float, str]:
    """Cheapest first; within a tenth, those whose proofs verify faster. For a chain gas comes before all that."""
    tenths = math.floor(math.log(offer.cost.prove_seconds) / math.log(1.1))
    return gas_step(offer, targets), tenths, offer.cost.verify_seconds, offer.label


def gas_step(offer: Offer, targets: Targets) -> int:
    """What an offer costs on chain in steps of a twentieth, within which estimates tell nothing; 0 if nobody asked for it."""
    return math.floor(math.log(offer.cost.verify_gas) / math.log(_GAS_STEP)) if targets.evm else 0
