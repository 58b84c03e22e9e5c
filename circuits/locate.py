"""Which node of a network EZKL cannot take.

Takes a plain ONNX file that EZKL refused; finds the shortest beginning of it that is refused, by bisection.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from verinfer.verifier.child import ChildFailed
from verinfer.verifier.errors import Malformed

from .native import Workplace

SECONDS = 45.0
"""For the whole search; each try has half of it."""
_TRY_SECONDS = SECONDS / 2

_OUTSIDE = ("child-out-of-memory", "child-killed", "child-cancelled", "child-file-too-large")
"""Ends of a try that say nothing about the model."""


def explain(model: Path, run_args: dict[str, Any], place: Workplace) -> Malformed:
    """The error to raise for a model that EZKL refuses under these run args.

    Its code is ``model-unsupported``, its message names the node and EZKL's reason.
    """
    limits = place.limits._replace(wall_seconds=_TRY_SECONDS)
    hurried = replace(place, limits=limits)
    until = time.monotonic() + SECONDS
    good, bad = 0, int(hurried.onnx("count_nodes", model=model))
    reason = _refusal(hurried, model, run_args) or "it takes this model now"
    while bad - good > 1 and time.monotonic() < until:
        middle = (good + bad) // 2
        found = _try(hurried, model, run_args, middle)
        if found is None:
            good = middle
        else:
            bad, reason = middle, found
    last = hurried.onnx("cut_after", model=model, output=_prefix(place), count=bad)
    where = f"the node {last['name'][:64]} ({last['operator'][:64]})"
    if bad - good > 1:
        where = f"one of the {bad - good} nodes up to {where}"
    return Malformed(
        "model-unsupported",
        f"The model cannot be compiled: EZKL refuses {where}: {reason}. Replace it, or export the model without it.",
    )


def _try(place: Workplace, model: Path, run_args: dict[str, Any], count: int) -> str | None:
    """Why EZKL refuses the first `count` nodes, or None."""
    prefix = _prefix(place)
    last = place.onnx("cut_after", model=model, output=prefix, count=count)
    return _refusal(place, prefix, run_args) if last["outputs"] else None


def _refusal(place: Workplace, model: Path, run_args: dict[str, Any]) -> str | None:
    try:
        place.ezkl("gen_settings", model=model, output=place.directory / "prefix.settings", run_args=run_args)
    except ChildFailed as failure:
        if failure.code in _OUTSIDE:
            raise
        return " ".join((failure.detail or failure.message).split())[:300]
    return None


def _prefix(place: Workplace) -> Path:
    return place.directory / "prefix.onnx"
