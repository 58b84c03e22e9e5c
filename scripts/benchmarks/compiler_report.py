"""The suite ``compiler`` for people: a table of ratios, a table of everything, and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from verinfer.verifier import files

from .report import figure, machine_line, plain_plots

SIDES = {"stock": "stock EZKL", "ours": "verinfer"}
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B"))


def as_table(results: dict[str, Any]) -> str:
    """Markdown: medians with their range; a question mark where the spread is too wide to build on."""
    lines = [
        machine_line(
            {**results["machine"], **{each: told(results, each) for each in ("commit", "processor")}}
        ),
        "",
        "| case | k | proving time | stock / verinfer | peak memory | stock / verinfer | agreement | estimate / measured |",
        "|---|---|---|---|---|---|---|---|",
        *(_summary(name, case) for name, case in results["cases"].items()),
        _means(results["geomean"]),
        "",
        "| case | circuit of | compile | setup | its memory | witness | verify | rows | pk | vk | proof |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(
            _detail(name, side, case[side])
            for name, case in results["cases"].items()
            if "failed" not in case
            for side in SIDES
        ),
    ]
    return "\n".join(lines) + "\n"


def write(results: dict[str, Any], folder: Path) -> None:
    """``compiler.json``, ``compiler.md`` and ``compiler.svg`` in `folder`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder / "compiler.json", (json.dumps(results, indent=1) + "\n").encode())
    files.write_atomically(folder / "compiler.md", as_table(results).encode())
    _plot(results, folder / "compiler.svg")


def told(results: dict[str, Any], what: str) -> str:
    """The ``commit`` or the ``processor`` of the results; where cases were measured apart, each with its cases."""
    measured: dict[str, list[str]] = {}
    for name, case in results["cases"].items():
        measured.setdefault(case.get(what, results["machine"][what]), []).append(name)
    if len(measured) == 1:
        return next(iter(measured))
    return ", ".join(f"{value} ({', '.join(names)})" for value, names in measured.items())


def _summary(name: str, case: dict[str, Any]) -> str:
    if "failed" in case:
        return f"| {name} | failed: {case['failed']} | | | | | | |"
    stock, ours, estimate = case["stock"], case["ours"], case["estimate"]
    return (
        f"| {name} | {stock['logrows']} → {ours['logrows']}"
        f" | {figure(stock['prove'])} → {figure(ours['prove'])} | {_factor(case['prove_ratio'])}"
        f" | {size(stock['prove_peak']['median'])} → {size(ours['prove_peak']['median'])}"
        f" | {_factor(case['memory_ratio'])}"
        f" | {_share(stock['agreement'])} → {_share(ours['agreement'])}"
        f" | {estimate['prove_factor']:.2f}, {estimate['memory_factor']:.2f} |"
    )


def _means(means: dict[str, Any]) -> str:
    count, time, memory = means["cases"], _factor(means["prove_ratio"]), _factor(means["memory_ratio"])
    return f"| geometric mean of {count} | | | {time} | | {memory} | | |"


def _detail(name: str, side: str, one: dict[str, Any]) -> str:
    times = " | ".join(figure(one[step]) for step in ("witness", "verify"))
    sizes = " | ".join(size(one[f"{part}_bytes"]) for part in ("pk", "vk", "proof"))
    return (
        f"| {name} | {SIDES[side]} | {figure(one['compile'])} | {figure(one['setup'])}"
        f" | {size(one['setup_peak']['median'])} | {times} | {one['rows']:,} | {sizes} |"
    )


def _factor(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}×"


def _share(agreement: dict[str, Any]) -> str:
    if agreement["share"] is None:
        return "not measured"
    return f"{agreement['share']:.2%} of {agreement['samples']}"


def size(count: float) -> str:
    """Bytes in the largest unit that leaves something before the point."""
    unit, name = next((item for item in _SIZES if count >= item[0]), _SIZES[-1])
    return f"{count / unit:.3g} {name}"


def _plot(results: dict[str, Any], path: Path) -> None:
    plt = plain_plots()
    cases = {name: case for name, case in results["cases"].items() if "failed" not in case}
    canvas, panels = plt.subplots(
        1, 2, figsize=(9, 1.2 + 0.55 * len(cases)), sharey=True, layout="constrained"
    )
    for axes, key, unit, label in zip(
        panels, ("prove", "prove_peak"), (1.0, 1e9), ("proving time, seconds", "peak memory, GB"), strict=True
    ):
        for offset, side in ((-0.19, "stock"), (0.19, "ours")):
            values = [case[side][key]["median"] / unit for case in cases.values()]
            axes.barh([index + offset for index in range(len(cases))], values, height=0.36, label=SIDES[side])
        axes.set_xscale("log")
        axes.set_xlabel(label)
        for edge in ("top", "right"):
            axes.spines[edge].set_visible(False)
    panels[0].set_yticks(range(len(cases)), list(cases))
    panels[0].invert_yaxis()
    panels[1].legend(frameon=False)
    canvas.savefig(path, metadata={"Date": None})
    plt.close(canvas)
