"""What one sample of a batch costs, for batches of several sizes, by estimate: what a batch is worth."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from verinfer.verifier.errors import CouldNotCheck
from verinfer.verifier.manifest import Visibility

from .cost import Cost
from .estimate import estimate

_STEP = 4


@dataclass(frozen=True, slots=True)
class Price:
    """Of one sample in a batch of so many: seconds of proving, its share; and the peak bytes of the whole proof."""

    batch: int
    seconds: float
    prove_bytes: int


def prices(
    network: Path, batch: int, inputs: Visibility, chosen: Cost, on_progress: Callable[[float], None]
) -> tuple[Price, ...]:
    """Prices in batches of 1, 4, 16, ... and `batch`, whose circuit is `chosen`; none for a batch of one.

    `network` is that of one sample. A size whose circuit cannot be is left out.
    """
    if batch == 1:
        return ()
    sizes = [1]
    while sizes[-1] * _STEP < batch:
        sizes.append(sizes[-1] * _STEP)
    found = []
    for index, size in enumerate(sizes):
        on_progress(index / len(sizes))
        with suppress(CouldNotCheck):
            found.append(_price(size, estimate(network, batch=size, inputs=inputs).cost))
    return (*found, _price(batch, chosen))


def _price(batch: int, cost: Cost) -> Price:
    return Price(batch, cost.prove_seconds / batch, cost.prove_bytes)
