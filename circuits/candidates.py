"""Run args that may be chosen, and how many rows they take, without making any key.

Takes a wrapped ONNX file. EZKL's ``gen_settings`` counts rows in milliseconds.

EZKL folds a circuit with more rows than 2^k into more blocks of columns, so k is free; what a shape costs is in `cost`.
A table that does not fit 2^k costs a multiple, so none is tried.
Rows depend on the number of legs, the rebase multiplier and the inner columns, hardly on scale and base.
A higher multiplier saves rows and needs more range.

EZKL's count of rows varies a little from process to process. Canonical settings round it; a candidate that is so close to
the edge that a rebuild might round it elsewhere is not steady, and not taken.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from verinfer.verifier.manifest import Visibility
from verinfer.verifier.settings import ROUNDING, canonical_settings

from .native import Workplace

SMALL_ROWS, LARGE_ROWS = 12_000, 50_000
LOOKUPS = (4000, 16000, 32768)
"""How far tables of curves may reach either way; a table must fit 2^k, so a short one may halve k twice."""
_BLINDING_ROWS = 16
_UNSTEADY_ROWS = 8
"""How far the count of rows of one block may be off between two runs; 3 was the most seen in 200."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Run args that may be chosen."""

    scale: int
    rebase: int
    base: int
    legs: int
    columns: int = 1
    logrows: int = 17
    lookup: int = LOOKUPS[-1]
    inputs: Visibility = "public"
    freivalds: bool = True

    def run_args(self) -> dict[str, Any]:
        """The run args as EZKL takes them; parameters are fixed, so weights are in the vk."""
        return {
            "input_scale": self.scale,
            "param_scale": self.scale,
            "scale_rebase_multiplier": self.rebase,
            "lookup_range": [-self.lookup, self.lookup],
            "logrows": self.logrows,
            "num_inner_cols": self.columns,
            "decomp_base": self.base,
            "decomp_legs": self.legs,
            "disable_freivalds": not self.freivalds,
            "input_visibility": self.inputs,
            "output_visibility": "public",
            "param_visibility": "fixed",
        }

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """What decides the values that the circuit computes."""
        return self.scale, self.rebase, self.base, self.legs


def count_rows(
    wrapped: str, run_args: Sequence[dict[str, Any]], place: Workplace
) -> list[dict[str, Any] | None]:
    """EZKL's settings for each set of run args, None where it refuses; rows need no keys, so this is cheap."""
    found: list[dict[str, Any] | None] = place.ezkl(
        "count_rows", model=wrapped, directory=place.directory, candidates=list(run_args)
    )
    return found


def count_all(
    wrapped: str, place: Workplace, inputs: Visibility = "public", *, evm: bool = False
) -> list[tuple[Candidate, dict[str, Any]]]:
    """Every candidate in every size worth trying, with EZKL's settings; for a chain (`evm`) without Freivalds' argument, too.

    Their scales are of another candidate of the same shape. None where EZKL refuses the model.
    """
    first = Candidate(scale=7, rebase=2, base=16384, legs=2, inputs=inputs)
    probe = count_rows(wrapped, [first.run_args()], place)[0]
    if probe is None:
        return []
    has_products = probe["einsum_params"]["total_einsum_col_size"] > 0
    wide = [
        replace(
            first,
            scale=scale,
            rebase=rebase,
            base=base,
            legs=legs,
            columns=columns,
            lookup=lookup,
            freivalds=freivalds,
        )
        for freivalds in ((True, False) if evm and has_products else (True,))
        for (scale, rebase, base, legs), columns in product(_numeric(probe["num_rows"]), (1, 2))
        for lookup in _lookups(rebase, probe)
    ]
    # One count for all that have the same rows.
    shapes = {_shape(candidate): candidate for candidate in wide}
    found = count_rows(wrapped, [candidate.run_args() for candidate in shapes.values()], place)
    counts = dict(zip(shapes, found, strict=True))
    return [
        _sized(candidate, logrows, settings)
        for candidate in wide
        if (settings := counts[_shape(candidate)]) is not None
        for logrows in _logrows(candidate, settings)
    ]


def count_blocks(cells: int, columns: int, logrows: int) -> int:
    """How many blocks of columns EZKL makes for so many cells; found by trying: a block ends 6 rows before 2^k."""
    return cells // (columns * ((1 << logrows) - 6) - 1) + 1


def unfolded_rows(settings: dict[str, Any]) -> int:
    """Rows that no further block of columns makes fewer: of the instances, and of the hashes of inputs."""
    hash_rows, hashes = settings["module_sizes"]["poseidon"]
    instances: int = sum(math.prod(shape) for shape in settings["model_instance_shapes"]) + sum(hashes)
    return max(instances, int(hash_rows))


def is_steady(settings: dict[str, Any]) -> bool:
    """Whether a rebuild gets the same canonical settings although its count of rows differs a little."""
    cells, args = settings["total_assignments"], settings["run_args"]
    slack = _UNSTEADY_ROWS * count_blocks(cells, args["num_inner_cols"], args["logrows"])
    less, more = (_shifted(settings, shift) for shift in (-slack, slack))
    return less == more


def _shape(candidate: Candidate) -> tuple[int, int, int, bool]:
    return candidate.legs, candidate.rebase, candidate.columns, candidate.freivalds


def _sized(candidate: Candidate, logrows: int, settings: dict[str, Any]) -> tuple[Candidate, dict[str, Any]]:
    at = replace(candidate, logrows=logrows)
    return at, {**settings, "run_args": {**settings["run_args"], **_numbers(at)}}


def _numbers(candidate: Candidate) -> dict[str, Any]:
    return {
        "lookup_range": [-candidate.lookup, candidate.lookup],
        "logrows": candidate.logrows,
        "input_scale": candidate.scale,
        "param_scale": candidate.scale,
        "decomp_base": candidate.base,
    }


def _numeric(rows: int) -> list[tuple[int, int, int, int]]:
    """(scale, rebase multiplier, base, legs); every base^legs holds a challenge's limb.

    Large bases have large tables and few rows: nothing for small circuits, and all that large ones can afford.
    """
    few_rows = [(6, 3, 16384, 2), (6, 2, 4096, 2), (7, 2, 256, 3), (7, 2, 16384, 2), (8, 2, 16384, 2)]
    few_rows += [(6, 1, 4096, 2), (7, 1, 4096, 2), (8, 1, 16384, 2)]
    if rows > LARGE_ROWS:
        return few_rows
    pairs = ((256, 2), (512, 2), (1024, 2), (2048, 2), (128, 3), (256, 3), (64, 4))
    small_tables = [
        (scale, rebase, base, legs)
        for scale, rebase, (base, legs) in product((6, 7, 8, 10), (1, 2, 3), pairs)
    ]
    return small_tables if rows <= SMALL_ROWS else list(dict.fromkeys([*few_rows, *small_tables]))


def _lookups(rebase: int, settings: dict[str, Any]) -> tuple[int, ...]:
    """Where products are rebased at once, what curves take is small; where later, it has the scale of a product."""
    return LOOKUPS if settings["required_lookups"] and rebase == 1 else LOOKUPS[-1:]


def _logrows(candidate: Candidate, settings: dict[str, Any]) -> list[int]:
    """Sizes worth trying: tables and instances must fit; beyond one block of columns there is nothing to win."""
    counted = [0, settings["run_args"]["decomp_base"] - 1]
    ranges = [item for item in settings["required_range_checks"] if item != counted]
    if settings["required_lookups"]:
        ranges.append([-candidate.lookup, candidate.lookup])
    floor = (
        max(candidate.base, unfolded_rows(settings), *(high - low + 1 for low, high in ranges))
        + _BLINDING_ROWS
    )
    least = max(math.ceil(math.log2(floor)), 8)
    most = max(math.ceil(math.log2(settings["num_rows"] + _BLINDING_ROWS)), least)
    # Folding too deep makes verification slower and proofs longer: at most 8 blocks.
    deepest = max(least, most - 3)
    cells = -(-settings["total_assignments"] // ROUNDING) * ROUNDING
    if count_blocks(cells, candidate.columns, most) > 1:
        most += 1
    return list(range(deepest, most + 1))


def _shifted(settings: dict[str, Any], rows: int) -> dict[str, Any]:
    """The canonical settings, had EZKL counted so many rows more."""
    cells = settings["total_assignments"] + rows * settings["run_args"]["num_inner_cols"]
    counted = {**settings, "num_rows": settings["num_rows"] + rows, "total_assignments": cells}
    value: dict[str, Any] = json.loads(canonical_settings(json.dumps(counted).encode()))
    return value
