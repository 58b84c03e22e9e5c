"""What samples say of a network's numbers, and how far an accumulator could go for any input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .network import Network, Reals, compute

HEADROOM = 1.1
"""How much further than on the samples an activation may go before it saturates."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """Ranges of the input and of each stage's output, with headroom; the largest weight of each stage, 0 without any.

    `positive` and `negative` are the sums of each row's weights of that sign, by stage.
    """

    given: tuple[float, float]
    outputs: tuple[tuple[float, float], ...]
    peaks: tuple[float, ...]
    positive: tuple[Reals, ...]
    negative: tuple[Reals, ...]

    def reach(self, network: Network, index: int, ends: Sequence[tuple[float, float]]) -> tuple[float, float]:
        """The least and the largest value before clipping that a stage could have where its sources reach these ends."""
        stage = network.stages[index]
        low, high = ends[stage.source]
        if stage.bias is not None:
            low, high = (
                float((self.positive[index] * low + self.negative[index] * high + stage.bias).min()),
                float((self.positive[index] * high + self.negative[index] * low + stage.bias).max()),
            )
        if stage.add is not None:
            low, high = low + ends[stage.add][0], high + ends[stage.add][1]
        return low, high


def observe(network: Network, inputs: Reals) -> Observed:
    """Run samples, [n, …], through a network."""
    lows, highs = (np.full(len(network.stages), sign * np.inf) for sign in (1, -1))
    for outputs in compute(network, inputs):
        lows = np.minimum(lows, [float(value.min()) for value in outputs])
        highs = np.maximum(highs, [float(value.max()) for value in outputs])
    ceilings = [stage.high for stage in network.stages]
    return with_ranges(
        network,
        (float(inputs.min()) * HEADROOM, float(inputs.max()) * HEADROOM),
        [
            (min(float(low) * HEADROOM, ceiling), min(float(high) * HEADROOM, ceiling))
            for low, high, ceiling in zip(lows, highs, ceilings, strict=True)
        ],
    )


def with_ranges(
    network: Network, given: tuple[float, float], outputs: Sequence[tuple[float, float]]
) -> Observed:
    """What a network's weights say, beside ranges that are known already, headroom included."""
    matrices = [np.zeros((1, 1)) if stage.weights is None else stage.matrix for stage in network.stages]
    return Observed(
        given,
        tuple(outputs),
        tuple(float(np.abs(matrix).max()) for matrix in matrices),
        tuple(np.maximum(matrix, 0).sum(axis=1) for matrix in matrices),
        tuple(np.minimum(matrix, 0).sum(axis=1) for matrix in matrices),
    )
