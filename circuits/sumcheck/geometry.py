"""Convolutions of any kernel, dilation and padding as those that D has: square kernels with the same padding on all sides.

A kernel may stand anywhere in a larger square of zeros, which moves where it reads; so most geometries have such a form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .network import Reals

MOST_SIDE = 16
"""Of a kernel, its stride, and a pooling window in D (section 3.1)."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What a convolution does along one axis: sizes before and after, taps and their distance, zeros before the first cell."""

    size: int
    out: int
    taps: int
    dilation: int
    begin: int

    @property
    def span(self) -> int:
        """Cells from the first tap to the last."""
        return self.dilation * (self.taps - 1) + 1


@dataclass(frozen=True, slots=True)
class Square:
    """A kernel's square: side, padding, and where the kernel's first tap stands in it, along each axis."""

    k: int
    pad: int
    offsets: tuple[int, ...]


def square(axes: Sequence[Axis], stride: int) -> Square | None:
    """The smallest square that computes the same; None if there is none."""
    if not 1 <= stride <= MOST_SIDE:
        return None
    for k in range(max(axis.span for axis in axes), MOST_SIDE + 1):
        for pad in range(k):
            offsets = tuple(pad - axis.begin for axis in axes)
            if all(_fits(axis, k, pad, at, stride) for axis, at in zip(axes, offsets, strict=True)):
                return Square(k, pad, offsets)
    return None


def _fits(axis: Axis, k: int, pad: int, offset: int, stride: int) -> bool:
    room = axis.size + 2 * pad - k
    return 0 <= offset <= k - axis.span and room >= 0 and room // stride + 1 == axis.out


def embed(kernel: Reals, axes: Sequence[Axis], inside: Square) -> Reals:
    """A kernel [out, channels, rows, columns] in its square."""
    wide = np.zeros((*kernel.shape[:2], inside.k, inside.k))
    rows, columns = (
        slice(at, at + axis.span, axis.dilation) for axis, at in zip(axes, inside.offsets, strict=True)
    )
    wide[:, :, rows, columns] = kernel
    return wide


def dense(kernel: Reals, groups: int) -> Reals:
    """A grouped kernel [out, channels / groups, …] over all channels, zero between groups."""
    outs, inner = kernel.shape[0] // groups, kernel.shape[1]
    whole = np.zeros((kernel.shape[0], inner * groups, *kernel.shape[2:]))
    for group in range(groups):
        rows = slice(group * outs, (group + 1) * outs)
        whole[rows, group * inner : (group + 1) * inner] = kernel[rows]
    return whole
