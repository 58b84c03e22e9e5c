"""What a circuit must meet: ``accuracy>=0.995, memory<=8GB, time<=30s, error<=0.02``; and ``evm``, what it should be cheap at.

`accuracy` is agreement of the label with the fp32 model; `error`, for a regression, a share of the outputs' range.
`evm` asks for the circuit whose proofs take the least gas on chain, instead of the one that is proved in the least time.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from verinfer.verifier.errors import UsageError

_TERM = re.compile(r"(accuracy|error|memory|time)(>=|<=)([0-9]+(?:\.[0-9]+)?)([a-zA-Z%]*)")
_EVM = "evm"
_UNITS: dict[str, dict[str, float]] = {
    "accuracy": {"": 1.0, "%": 0.01},
    "error": {"": 1.0, "%": 0.01},
    "memory": {"MB": 1e6, "GB": 1e9, "MiB": float(1 << 20), "GiB": float(1 << 30)},
    "time": {"s": 1.0, "m": 60.0, "min": 60.0, "ms": 1e-3},
}


BUDGET = 300.0
"""Seconds after which the search makes no more trial proofs, unless told otherwise."""

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)?")


def parse_seconds(text: str) -> float:
    """Seconds from texts like 90, 90s, 5m, 1h; raises ValueError with the reason."""
    match = _DURATION.fullmatch(text)
    seconds = math.inf if match is None else float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]
    if not math.isfinite(seconds):
        raise ValueError(f"{text[:40]!r} is no duration; write for example 90s or 5m")
    return seconds


@dataclass(frozen=True, slots=True)
class Targets:
    """Least agreement and largest error against fp32, and what one proof may take at most (None: whatever it takes).

    `evm`: of the circuits that meet the rest, the cheapest on chain is wanted, not the fastest.
    """

    agreement: float = 0.995
    error: float = 0.02
    memory_bytes: int | None = None
    seconds: float | None = None
    evm: bool = False
    named: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """Which of them somebody asked for in so many words."""


def parse_targets(text: str) -> Targets:
    """Read targets; each at most once; raises `UsageError` (``target-malformed``)."""
    found: dict[str, float] = {}
    for part in filter(None, (piece.replace(" ", "") for piece in text.split(","))):
        if part == _EVM:
            if part in found:
                raise _malformed(part, "it is there twice")
            found[part] = 1.0
            continue
        match = _TERM.fullmatch(part)
        if match is None:
            raise _malformed(part, 'write for example "accuracy>=0.995, memory<=8GB, time<=30s"')
        name, relation, number, unit = match.groups()
        if (relation == ">=") != (name == "accuracy"):
            raise _malformed(part, f"{name} takes {'>=' if name == 'accuracy' else '<='}")
        if unit not in _UNITS[name]:
            raise _malformed(part, f"units of {name}: {', '.join(unit or 'none' for unit in _UNITS[name])}")
        if name in found:
            raise _malformed(part, f"{name} is there twice")
        found[name] = float(number) * _UNITS[name][unit]
        if not math.isfinite(found[name]):
            raise _malformed(part, "the number is too large")
    if not 0 <= found.get("accuracy", 0) <= 1:
        raise _malformed(text, "accuracy is a share between 0 and 1")
    default = Targets()
    return Targets(
        agreement=found.get("accuracy", default.agreement),
        error=found.get("error", default.error),
        memory_bytes=int(found["memory"]) if "memory" in found else None,
        seconds=found.get("time"),
        evm=_EVM in found,
        named=frozenset(found),
    )


def require_suitable(targets: Targets, task: str) -> None:
    """Raise `UsageError` (``target-malformed``) where a target was asked for that means nothing for models of this task."""
    if task == "classification" and "error" in targets.named:
        raise UsageError(
            "target-malformed", "error is for a regression; this model gives labels: write accuracy>=0.995."
        )
    if task == "regression" and "accuracy" in targets.named:
        raise UsageError(
            "target-malformed", "accuracy is for labels; this model is a regression: write error<=0.02."
        )


def _malformed(part: str, why: str) -> UsageError:
    return UsageError("target-malformed", f"The target {part!r} cannot be read: {why}.")
