"""How far the outputs of two networks are apart, sample by sample; by numpy alone, for parents and children."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Passes = Sequence[Sequence[Sequence[float]]]
"""Outputs by forward pass, by tensor, flat."""


def largest_difference(ours: _Passes, theirs: _Passes, batch: int = 1) -> float:
    """The largest relative difference over all samples, `batch` of them in a pass; infinite if a number is not finite.

    Each sample's difference is relative to its largest output, or the median sample's if that is larger: one sample with huge
    outputs must not hide what the others show.
    """
    first, second = (_by_sample(passes, batch) for passes in (ours, theirs))
    if first.shape != second.shape or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("inf")
    largest = np.abs(first).max(axis=1)
    scale = np.maximum(largest, np.median(largest))
    difference = np.abs(first - second).max(axis=1)
    return float(np.where(scale > 0, difference / np.where(scale > 0, scale, 1.0), difference).max())


def _by_sample(passes: _Passes, batch: int) -> npt.NDArray[Any]:
    """All numbers of each sample, [samples, numbers]."""
    return np.concatenate(
        [
            np.concatenate([np.asarray(tensor, np.float64).reshape(batch, -1) for tensor in tensors], axis=1)
            for tensors in passes
        ]
    )
