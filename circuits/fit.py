"""Fits the cost model to this machine: sets up and proves a dozen small circuits, and solves for the prices.

Takes under two minutes on two idle cores; other work on the machine hardly changes what comes out.
Gives `Coefficients`, and keeps them in the user's cache.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verinfer.verifier import child

from .candidates import Candidate
from .cost import Coefficients, Measurement, fitted_file, save, solve, this_machine
from .native import Workplace

_MODULE = "verinfer.circuits._meter"


@dataclass(frozen=True, slots=True)
class Toy:
    """A small circuit: the steps of its network (`_meter.prepare`), its shape, k and inner columns."""

    steps: str
    shape: tuple[int, int]
    logrows: int
    columns: int = 1


TOYS = (
    Toy("a", (4, 16), 9),
    Toy("a", (4, 16), 12),
    Toy("a", (4, 16), 12, 2),
    Toy("aa", (8, 32), 11),
    Toy("ar", (8, 16), 12),
    Toy("as", (4, 16), 10),
    Toy("asat", (4, 16), 12),
    Toy("asatae", (4, 16), 12),
    Toy("asas", (8, 64), 11),
    Toy("m", (8, 16), 10),
    Toy("m", (8, 16), 12),
    Toy("mm", (8, 16), 11),
    Toy("mm", (8, 16), 12, 2),
)
"""One and two inner columns, one and many blocks, with and without lookups and Freivalds' argument."""


def fit(place: Workplace, on_progress: Callable[[float], None], toys: Sequence[Toy] = TOYS) -> Coefficients:
    """Measure `toys`, solve, and keep the result for this machine; raises `ChildFailed`."""
    measured = []
    for index, toy in enumerate(toys):
        on_progress(index / len(toys))
        measured.append(measure(toy, place))
    found = solve(measured, this_machine())
    save(found, fitted_file())
    return found


def measure(toy: Toy, place: Workplace) -> Measurement:
    """Set one circuit up and prove with it, each in a process of its own."""
    with tempfile.TemporaryDirectory(dir=place.directory) as aside:
        files = {name: str(Path(aside) / name) for name in ("settings", "compiled", "witness", "srs", "pk")}
        candidate = Candidate(scale=6, rebase=2, base=256, legs=2, columns=toy.columns, logrows=toy.logrows)
        run_args = {**candidate.run_args(), "lookup_range": [-128, 128]}
        settings = _call(
            place, "prepare", home=aside, steps=toy.steps, shape=list(toy.shape), run_args=run_args
        )
        given = {name: files[name] for name in ("compiled", "srs", "pk")}
        setup = _timed(place, "setup", **given, vk=f"{aside}/vk")
        prove = _timed(place, "prove", **given, witness=files["witness"], proof=f"{aside}/proof")
    return Measurement(
        settings,
        prove["processor"],
        setup["processor"],
        prove["peak"],
        setup["peak"],
        min(max(item["wanted"] / item["clock"] for item in (setup, prove)), len(os.sched_getaffinity(0))),
    )


def _timed(place: Workplace, function: str, **arguments: str) -> dict[str, float]:
    found: dict[str, float] = _call(place, "timed", function=function, arguments=arguments)
    return found


def _call(place: Workplace, function: str, /, **arguments: Any) -> Any:
    return child.run(
        _MODULE,
        function,
        arguments,
        limits=place.limits,
        directory=place.directory,
        on_start=place.on_start,
        cancelled=place.cancelled,
    )
