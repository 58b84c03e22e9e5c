"""The suite ``sumcheck`` for people: a table beside EZKL, one of the series, and a plot of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from verinfer.verifier import files

from .compiler_report import SIDES, size, told
from .report import figure, machine_line, plain_plots

_HEAD = (
    "| model | prove | EZKL, stock | EZKL, tuned | peak memory | EZKL, stock | EZKL, tuned | proof | check | held out"
    " | bits | proofs a second | answer by HTTP | answers a second |"
)


def as_table(results: dict[str, Any]) -> str:
    """Markdown: medians with their range; a question mark where the spread is too wide to build on."""
    whole = {name: case for name, case in results["cases"].items() if "failed" not in case}
    models = {name: case for name, case in whole.items() if "stock" in case}
    lines = [
        machine_line(
            {**results["machine"], **{each: told(results, each) for each in ("commit", "processor")}}
        ),
        "",
        _HEAD,
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_model(name, case) for name, case in models.items()),
        "",
        "| network | weights | multiplications | prove | peak memory | proof | check | setup | key proof | checked in |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_network(name, case["sumcheck"]) for name, case in whole.items()),
        *(
            f"| {name} | failed: {case['failed']} |"
            for name, case in results["cases"].items()
            if "failed" in case
        ),
    ]
    return "\n".join(lines) + "\n"


def write(results: dict[str, Any], folder: Path) -> None:
    """``sumcheck.json``, ``sumcheck.md`` and ``sumcheck.svg`` in `folder`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder / "sumcheck.json", (json.dumps(results, indent=1) + "\n").encode())
    files.write_atomically(folder / "sumcheck.md", as_table(results).encode())
    _plot(results, folder / "sumcheck.svg")


def _model(name: str, case: dict[str, Any]) -> str:
    own = case["sumcheck"]
    times = " | ".join(
        f"{figure(case[side]['prove'])}, {case['prove_over_sumcheck'][side]:.0f}×" for side in SIDES
    )
    memory = " | ".join(size(case[side]["prove_peak"]["median"]) for side in SIDES)
    return (
        f"| {name} | {figure(own['prove'])} | {times} | {size(own['prove_peak']['median'])} | {memory}"
        f" | {size(own['proof_bytes'])} | {figure(own['check'])}"
        f" | {_agreement(case)} | {own['bits']} | {own['per_second']['rate']:.0f}"
        f" | {figure(own['service']['answer'])} | {own['service']['rate']:.0f} |"
    )


def _agreement(case: dict[str, Any]) -> str:
    """Of labels; a regression has none, but its largest error, in the output's own units."""
    found = case["sumcheck"]["agreement"]["held_out"]
    if case["task"] == "classification":
        return f"{found['share']:.2%} of {found['samples']}"
    return f"±{found['error']:.2g} on {found['samples']}"


def _network(name: str, own: dict[str, Any]) -> str:
    return (
        f"| {name} | {own['weights']:,} | {own['multiplications']:,} | {figure(own['prove'])}"
        f" | {size(own['prove_peak']['median'])} | {size(own['proof_bytes'])} | {figure(own['check'])}"
        f" | {figure(own['setup'])} | {size(own['key_bytes'])} | {figure(own['key_check'])} |"
    )


def _plot(results: dict[str, Any], path: Path) -> None:
    plt = plain_plots()
    whole = {name: case for name, case in results["cases"].items() if "failed" not in case}
    models = {name: case for name, case in whole.items() if "stock" in case}
    canvas, (beside, growth) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    labels = {"sumcheck": "verinfer-sc/1", "stock": "EZKL, stock", "ours": "EZKL, tuned"}
    for offset, (side, label) in enumerate(labels.items()):
        values = [case[side]["prove"]["median"] for case in models.values()]
        beside.barh(
            [index + 0.26 * (offset - 1) for index in range(len(models))], values, height=0.24, label=label
        )
    beside.set_yticks(range(len(models)), list(models))
    beside.invert_yaxis()
    if models:
        beside.set_xscale("log")
    beside.set_xlabel("proving time, seconds")
    beside.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(labels))
    points = sorted((case["sumcheck"]["multiplications"], case["sumcheck"]) for case in whole.values())
    for key, label in (("prove", "prove"), ("check", "check, plain Python")):
        growth.plot(
            [at for at, _ in points], [own[key]["median"] for _, own in points], marker="o", label=label
        )
    growth.set_xscale("log")
    growth.set_yscale("log")
    growth.set_xlabel("multiplications of the network")
    growth.set_ylabel("seconds")
    growth.legend(frameon=False)
    for axes in (beside, growth):
        for edge in ("top", "right"):
            axes.spines[edge].set_visible(False)
    canvas.savefig(path, metadata={"Date": None})
    plt.close(canvas)
