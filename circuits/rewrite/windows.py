"""Which input positions each output position of a convolution or a pooling looks at.

Takes the attributes of Conv, AveragePool or MaxPool and the spatial shape; gives index arrays.
Source: ONNX operator specifications of these three (padding, ``auto_pad``, ``ceil_mode``, ``dilations``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from .graph import Array, Graph, Shape, attribute


@dataclass(frozen=True, slots=True)
class Windows:
    """Output shape; per output and kernel element, [outputs, kernel], the flat input position, -1 outside.

    `counted` is true inside and in the declared padding, false where ``ceil_mode`` reaches beyond it.
    """

    shape: Shape
    positions: npt.NDArray[np.int64]
    counted: npt.NDArray[np.bool_]


def windows(node: onnx.NodeProto, spatial: Shape, kernel: Shape) -> Windows | None:
    """The windows of a node over an input of this spatial shape; None for an unknown ``auto_pad``."""
    axes = len(spatial)
    strides = attribute(node, "strides", [1] * axes)
    dilations = attribute(node, "dilations", [1] * axes)
    spans = [step * (size - 1) + 1 for step, size in zip(dilations, kernel, strict=True)]
    edges = pads(node, spatial, strides, spans)
    if edges is None:
        return None
    up = bool(attribute(node, "ceil_mode", 0))
    positions = np.zeros((1, 1), dtype=np.int64)
    inside = counted = np.ones((1, 1), dtype=bool)
    shape = []
    for axis, (size, (begin, end)) in enumerate(zip(spatial, edges, strict=True)):
        count = _count(size, begin, end, spans[axis], strides[axis], up=up)
        at = np.arange(count)[:, None] * strides[axis] - begin + np.arange(kernel[axis]) * dilations[axis]
        within = (at >= 0) & (at < size)
        inside = _pairs(inside, within, np.logical_and)
        counted = _pairs(counted, (at >= -begin) & (at < size + end), np.logical_and)
        positions = _pairs(positions * size, np.where(within, at, 0), np.add)
        shape.append(count)
    return Windows(tuple(shape), np.where(inside, positions, -1), counted)


def _pairs(left: npt.NDArray[Any], right: npt.NDArray[Any], combine: np.ufunc) -> npt.NDArray[Any]:
    """Every row with every row, every column with every column: [a, b] and [c, d] to [a·c, b·d]."""
    both: npt.NDArray[Any] = combine(left[:, None, :, None], right[None, :, None, :])
    return both.reshape(left.shape[0] * right.shape[0], left.shape[1] * right.shape[1])


def _count(size: int, begin: int, end: int, span: int, stride: int, *, up: bool) -> int:
    room = size + begin + end - span
    count = (-(-room // stride) if up else room // stride) + 1
    # Rounding up never makes a window that starts in the padding after the end.
    return count - 1 if up and (count - 1) * stride >= size + begin else count


def pads(
    node: onnx.NodeProto, spatial: Shape, strides: list[int], spans: list[int]
) -> list[tuple[int, int]] | None:
    """Zeros before and after each axis; None for an unknown ``auto_pad``. `spans` are kernels with their dilations."""
    mode = attribute(node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        flat = attribute(node, "pads", [0] * (2 * len(spatial)))
        return list(zip(flat[: len(spatial)], flat[len(spatial) :], strict=True))
    if mode == "VALID":
        return [(0, 0)] * len(spatial)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        return None
    totals = [
        max((-(-size // stride) - 1) * stride + span - size, 0)
        for size, stride, span in zip(spatial, strides, spans, strict=True)
    ]
    halves = [(total // 2, total - total // 2) for total in totals]
    return halves if mode == "SAME_UPPER" else [(more, less) for less, more in halves]


def flatten(graph: Graph, name: str, shape: Shape, index: Array, hint: str) -> tuple[str, Array]:
    """Write a tensor's flat form, with a zero appended where `index` has -1; gives its name and the index into it."""
    size = prod(shape)
    flat = graph.reshape(name, (size,), graph.fresh(f"{hint}.flat"))
    if (index < 0).any():
        zero = graph.new_constant(np.zeros(1, dtype=np.float32), f"{hint}.zero")
        flat = graph.emit("Concat", [flat, zero], graph.fresh(f"{hint}.padded"), axis=0)
    return flat, np.where(index < 0, size, index).astype(np.int64)
