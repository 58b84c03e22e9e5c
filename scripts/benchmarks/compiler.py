"""The suite ``compiler``: what a circuit costs that stock EZKL makes of a model, and what one costs that verinfer makes of it.

For each case, in one run, on the same ONNX file and the same samples: both circuits are made and set up, then the first sample
is proved by turns, every step in a fresh process; the first round is kept and does not count.
Then every held-out sample goes through both circuits' forward passes and is compared with the fp32 model.
No model was trained on them, but verinfer chooses its circuit on them, and stock EZKL's calibration sees the first few.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from verinfer.circuits.estimate import estimate
from verinfer.circuits.fit import fit
from verinfer.circuits.model import Model, read_model
from verinfer.circuits.native import PARSE_LIMITS, Workplace, heavy_limits
from verinfer.circuits.prove import read_proof
from verinfer.verifier.errors import UsageError, VerinferError
from verinfer.verifier.instances import from_field_hex

from . import environment, steps
from .contestants import CONTESTANTS, Contestant
from .measure import Samples

ZOO = Path(__file__).parents[2] / "models" / "zoo"
CASES = ("digits_mlp", "digits", "lenet", "digits_trees", "digits_attention", "digits_lstm")

AGREEMENT = 0.995
"""Least share of samples with the fp32 model's label, or stock's share where that is less."""

QUICK_SECONDS, QUICK_REPEATS, SLOW_REPEATS = 20.0, 3, 2
"""A case whose slower proof takes this long is proved so often, else so often."""

FORWARD_SECONDS = 3600.0
"""For all forward passes of one circuit; how many samples were reached is in the results."""

Say = Callable[[str], None]
Round = dict[str, steps.Cost]
"""One proof: the costs of `gen_witness`, `prove` and `verify`."""


def run(
    names: Sequence[str],
    where: Mapping[str, str],
    say: Say,
    forward_seconds: float,
    earlier: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Measure these cases; gives `cases` and `geomean` of the results file after each, with the `earlier` cases.

    `where` is what `environment.of_case` gives. A case that fails says why, and does not count.
    """
    cases = dict(earlier)
    for name in names:
        cases[name] = {**where, **_case_or_failure(name, say, forward_seconds)}
        yield {"cases": {each: cases[each] for each in CASES if each in cases}, "geomean": geomean(cases)}


def estimate_again(
    names: Sequence[str], where: Mapping[str, str], say: Say, earlier: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """As `run`, but these cases keep what was measured, on this processor, and get the estimate of today's code.

    Raises `UsageError` for a case that is not there, or of another processor.
    """
    cases = dict(earlier)
    for name in names:
        if cases.get(name, {}).get("processor") != where["processor"]:
            raise UsageError("usage", f"{name} was not measured on this processor.")
        say(f"{name}: estimating")
        with tempfile.TemporaryDirectory(prefix="verinfer-bench-") as directory:
            found = _estimate(name, cases[name]["ours"], Path(directory))
        cases[name] = {**cases[name], "estimate": {**found, "commit": where["commit"]}}
        yield {"cases": cases, "geomean": geomean(cases)}


def earlier_cases(path: Path, machine: Mapping[str, Any]) -> dict[str, Any]:
    """The cases of a results file, each with the commit and the processor that it belongs to.

    Both sides of a case were measured in one run, so its ratios may stand beside those of another processor.
    Raises `UsageError` for other versions, or another number of cores or size of memory.
    """
    if not path.exists():
        return {}
    results = json.loads(path.read_text())
    varies = {**environment.of_case(machine), "load_before": None}
    if {**results["machine"], **varies} != {**machine, **varies}:
        raise UsageError("usage", f"{path} is of other versions, or of a machine of another size.")
    return {
        name: {**environment.of_case(results["machine"]), **case} for name, case in results["cases"].items()
    }


def geomean(cases: dict[str, Any]) -> dict[str, Any]:
    """Geometric means of stock over ours, over the cases that have them; null if none has."""
    whole = [case for case in cases.values() if "failed" not in case]
    names = ("prove_ratio", "memory_ratio", "setup_ratio", "setup_memory_ratio")
    return {
        "cases": len(whole),
        **{
            name: statistics.geometric_mean(case[name] for case in whole) if whole else None for name in names
        },
    }


def _case_or_failure(name: str, say: Say, forward_seconds: float) -> dict[str, Any]:
    try:
        with tempfile.TemporaryDirectory(prefix="verinfer-bench-") as directory:
            return _case(name, Path(directory), say, forward_seconds)
    except VerinferError as error:
        say(f"{name}: {error.message}")
        return {"failed": error.message}


def _case(name: str, home: Path, say: Say, forward_seconds: float) -> dict[str, Any]:
    say(f"{name}: reading the model")
    model = read_model(ZOO / name, Workplace(directory=home, limits=PARSE_LIMITS))
    sides: dict[str, Contestant] = {}
    keys: dict[str, steps.Cost] = {}
    for side, make in CONTESTANTS.items():
        say(f"{name}: compiling, {side}")
        sides[side] = make(model, home / side)
        say(f"{name}: setup, {side}")
        keys[side] = make_keys(sides[side])
    say(f"{name}: proving by turns")
    warm_up = {side: prove_once(contestant) for side, contestant in sides.items()}
    quick = max(round_["prove"].seconds for round_ in warm_up.values()) <= QUICK_SECONDS
    rounds: dict[str, list[Round]] = {side: [] for side in sides}
    for _ in range(QUICK_REPEATS if quick else SLOW_REPEATS):
        for side, contestant in sides.items():
            rounds[side].append(prove_once(contestant))
    agreements = {}
    for side, contestant in sides.items():
        say(f"{name}: {len(model.fp32)} forward passes, {side}")
        agreements[side] = _agreement(model, contestant, forward_seconds)
    figures = {
        side: _figures(sides[side], keys[side], warm_up[side], rounds[side], agreements[side])
        for side in sides
    }
    stock, ours = figures["stock"], figures["ours"]
    least = min(AGREEMENT, stock["agreement"]["share"] or 0)
    return {
        "onnx_sha256": model.spec.onnx,
        **figures,
        "estimate": _estimate(name, ours, home),
        "prove_ratio": _ratio(stock, ours, "prove"),
        "memory_ratio": _ratio(stock, ours, "prove_peak"),
        "setup_ratio": _ratio(stock, ours, "setup"),
        "setup_memory_ratio": _ratio(stock, ours, "setup_peak"),
        "agreement_met": (ours["agreement"]["share"] or 0) >= least,
    }


def _estimate(name: str, ours: dict[str, Any], home: Path) -> dict[str, Any]:
    """What `verinfer estimate --fit` says of the model before anything is built, and how many times too much that is."""
    fit(Workplace(directory=home, limits=heavy_limits()), lambda _share: None)
    cost = estimate(ZOO / name).cost
    return {
        "prove_seconds": cost.prove_seconds,
        "prove_bytes": cost.prove_bytes,
        "logrows": cost.logrows,
        "prove_factor": cost.prove_seconds / ours["prove"]["median"],
        "memory_factor": cost.prove_bytes / ours["prove_peak"]["median"],
    }


def make_keys(one: Contestant) -> steps.Cost:
    """Set the circuit up, into its home."""
    return steps.run(
        "setup",
        one.home,
        compiled=one.compiled,
        vk=one.home / "vk.key",
        pk=one.home / "pk.key",
        srs=one.srs,
        uncompressed=one.uncompressed,
    )


def prove_once(one: Contestant) -> Round:
    """Prove the first sample and verify the proof, each step in a fresh process."""
    data, witness, proof = (one.home / name for name in ("input.json", "witness.json", "proof.json"))
    data.write_text(json.dumps({"input_data": one.inputs[0]}))
    costs = {
        "witness": steps.run("gen_witness", one.home, data=data, compiled=one.compiled, witness=witness),
        "prove": steps.run(
            "prove",
            one.home,
            witness=witness,
            compiled=one.compiled,
            pk=one.home / "pk.key",
            proof=proof,
            srs=one.srs,
        ),
    }
    checked = steps.run(
        "verify", one.home, proof=proof, settings=one.settings, vk=one.home / "vk.key", srs=one.srs
    )
    return {**costs, "verify": checked}


def _agreement(model: Model, one: Contestant, seconds: float) -> dict[str, Any]:
    """How often the circuit's label is the fp32 model's; a sample that the circuit refuses counts as a different label."""
    written = [index for index, item in enumerate(one.inputs) if item is not None]
    answers = steps.forward_all(
        one.compiled, [one.inputs[index] for index in written], one.home, limit=seconds
    )
    by_sample = dict(zip(written, answers, strict=True))
    low, high = one.description["run_args"]["lookup_range"]
    agreed = refused = beyond = reached = 0
    for index, expected in enumerate(model.fp32):
        answer = by_sample.get(index, {})
        if answer is None:
            continue
        reached += 1
        if not answer:
            refused += 1
            continue
        values = [from_field_hex(text) for text in answer["outputs"]]
        agreed += values.index(max(values)) == expected[0].index(max(expected[0]))
        if one.description["required_lookups"]:
            beyond += not low <= answer["lookups"][0] <= answer["lookups"][1] <= high
    return {
        "samples": reached,
        "of": len(model.fp32),
        "share": agreed / reached if reached else None,
        "refused": refused,
        "beyond_lookup_range": beyond,
    }


def _figures(
    one: Contestant, keys: steps.Cost, warm_up: Round, rounds: list[Round], agreement: dict[str, Any]
) -> dict[str, Any]:
    settings = one.description
    by_step = {
        name: Samples("s", tuple(costs[name].seconds for costs in rounds)).to_json()
        for name in ("witness", "prove", "verify")
    }
    return {
        "logrows": settings["run_args"]["logrows"],
        "rows": settings["num_rows"],
        "run_args": settings["run_args"],
        "phases": one.seconds,
        "compile": Samples("s", (sum(one.seconds.values()),)).to_json(),
        "setup": Samples("s", (keys.seconds,)).to_json(),
        "setup_peak": Samples("B", (keys.peak_bytes,)).to_json(),
        **by_step,
        "prove_peak": Samples("B", tuple(costs["prove"].peak_bytes for costs in rounds)).to_json(),
        "warm_up": {name: cost.seconds for name, cost in warm_up.items()},
        "pk_bytes": (one.home / "pk.key").stat().st_size,
        "vk_bytes": (one.home / "vk.key").stat().st_size,
        "proof_bytes": len(read_proof(one.home / "proof.json")),
        "agreement": agreement,
    }


def _ratio(stock: dict[str, Any], ours: dict[str, Any], name: str) -> float:
    return float(stock[name]["median"] / ours[name]["median"])
