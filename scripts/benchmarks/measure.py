"""Samples and what may be said of them: the raw values stay, a median and a spread stand for them.

Unstable results are flagged as pyperf does: standard deviation from 10 % of the mean, or an extreme 50 % away from it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Samples:
    """Values of one figure, in the order they were taken."""

    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def unstable(self) -> bool:
        """Whether the spread is too wide to build on."""
        mean = statistics.fmean(self.values)
        wide = len(self.values) > 1 and statistics.stdev(self.values) >= 0.1 * mean
        return wide or any(abs(value - mean) >= 0.5 * mean for value in self.values)

    def to_json(self) -> dict[str, Any]:
        """Everything, for the results file."""
        return {
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "unstable": self.unstable,
            "values": list(self.values),
        }


def repeat(work: Callable[[], object], times: int, *, warm_up: int = 1, rest: float = 0.0) -> Samples:
    """Seconds of `times` calls, after `warm_up` calls that do not count; `rest` seconds before each."""
    for _ in range(warm_up):
        work()
    values = []
    for _ in range(times):
        time.sleep(rest)
        values.append(seconds(work))
    return Samples("s", tuple(values))


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
