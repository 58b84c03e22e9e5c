"""What one sample of a batch costs, for batches of several sizes, by estimate: what a batch is worth."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from verinfer.verifier.errors import CouldNotCheck

from .estimate import estimate


@dataclass(frozen=True, slots=True)
class Price:
    """Of one sample in a batch of so many: seconds of proving, its share; and the peak bytes of the whole proof."""

    batch: int
    seconds: float
    prove_bytes: int


def prices(network: Path, most: int | None) -> tuple[Price, ...]:
    """Estimates for batches of 1, 2, 4, ... and `most`, without those that cannot be; none at all without `most`."""
    if most is None:
        return ()
    found = []
    for size in [*(1 << power for power in range(most.bit_length()) if 1 << power < most), most]:
        with suppress(CouldNotCheck):
            cost = estimate(network, batch=size).cost
            found.append(Price(size, cost.prove_seconds / size, cost.prove_bytes))
    return tuple(found)
