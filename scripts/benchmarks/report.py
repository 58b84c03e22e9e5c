"""A results file, a table for people, and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def as_table(results: dict[str, Any]) -> str:
    """Markdown, medians with their range; an unstable figure has a question mark."""
    machine = results["machine"]
    lines = [
        _machine(machine),
        "",
        "| model | k | bare proving call | whole way through the service | service / bare | verify, cold | verify, warm |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {case['logrows']} | {_figure(case['bare_prove'])} | {_figure(case['service'])}"
        f" | {case['service_over_bare']:.2f} | {_figure(case['verify_cold'])} | {_figure(case['verify_warm'])} |"
        for name, case in results["cases"].items()
    ]
    return "\n".join(lines) + "\n"


def _machine(machine: dict[str, Any]) -> str:
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
    return f"{where}; ezkl {machine['packages']['ezkl']}, Python {machine['python']}; commit {machine['commit']}."


def write(results: dict[str, Any], folder: Path, name: str) -> None:
    """``NAME.json``, ``NAME.md`` and ``NAME.svg`` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / f"{name}.md").write_text(as_table(results))
    _plot(results, folder / f"{name}.svg")


def _figure(samples: dict[str, Any]) -> str:
    scale, unit = (1000, "ms") if samples["median"] < 1 else (1, "s")
    low, middle, high = (samples[key] * scale for key in ("min", "median", "max"))
    digits = 0 if unit == "ms" else 2
    flag = " ?" if samples["unstable"] else ""
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f}){flag}"


def _plot(results: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    # Without these the file would differ from run to run for no reason.
    mpl.rcParams["svg.hashsalt"] = "verinfer"
    from matplotlib import pyplot as plt

    names = list(results["cases"])
    figure, axes = plt.subplots(figsize=(7, 1 + 0.8 * len(names)), layout="constrained")
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
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
