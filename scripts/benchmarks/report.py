"""A results file, a table for people, and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def as_table(results: dict[str, Any]) -> str:
    """Markdown, medians with their range; an unstable figure has a question mark."""
    machine = results["machine"]
    lines = [
        machine_line(machine),
        "",
        (
            "| model | k | bare proving call | through the service | service / bare | verify, cold"
            " | bare checking call | verify, warm | warm / bare | in a row |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {case['logrows']} | {figure(case['bare_prove'])} | {figure(case['service'])}"
        f" | {case['service_over_bare']:.2f} | {figure(case['verify_cold'])} | {figure(case['bare_verify'])}"
        f" | {figure(case['verify_warm'])} | {case['warm_over_bare']:.2f} | {figure(case['verify_in_a_row'])} |"
        for name, case in results["cases"].items()
    ]
    return "\n".join(lines) + "\n"


def machine_line(machine: dict[str, Any]) -> str:
    """What the numbers belong to."""
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
    return f"{where}; ezkl {machine['packages']['ezkl']}, Python {machine['python']}; commit {machine['commit']}."


def write(results: dict[str, Any], folder: Path, name: str) -> None:
    """``NAME.json``, ``NAME.md`` and ``NAME.svg`` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / f"{name}.md").write_text(as_table(results))
    _plot(results, folder / f"{name}.svg")


def figure(samples: dict[str, Any]) -> str:
    """The median of seconds with its range, if it has one."""
    scale, unit = (1000, "ms") if samples["median"] < 1 else (1, "s")
    low, middle, high = (samples[key] * scale for key in ("min", "median", "max"))
    digits = 0 if unit == "ms" else 2
    flag = " ?" if samples["unstable"] else ""
    spread = f" ({low:.{digits}f} to {high:.{digits}f})" if len(samples["values"]) > 1 else ""
    return f"{middle:.{digits}f} {unit}{spread}{flag}"


def plain_plots() -> Any:
    """Matplotlib's pyplot, for SVG files that do not differ from run to run for no reason."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "verinfer"
    from matplotlib import pyplot as plt

    return plt


def _plot(results: dict[str, Any], path: Path) -> None:
    plt = plain_plots()
    names = list(results["cases"])
    canvas, axes = plt.subplots(figsize=(7, 1 + 0.8 * len(names)), layout="constrained")
    rows = {
        "bare proving call": "bare_prove",
        "through the service": "service",
        "verify, cold": "verify_cold",
    }
    for offset, (label, key) in enumerate(rows.items()):
        values = [results["cases"][name][key]["median"] for name in names]
        axes.barh(
            [index + 0.26 * (offset - 1) for index in range(len(names))], values, height=0.24, label=label
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("seconds (median)")
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    canvas.savefig(path, metadata={"Date": None})
    plt.close(canvas)
