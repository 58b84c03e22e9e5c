"""A network of real numbers as a plain list of stages, each of which can become one layer of D.

`_reading` makes it of an ONNX file inside a child; here it comes out of the child's answer, and is computed in binary64.
A stage consumes an earlier stage's output, or the network's input, which is -1; then adds an earlier output, if it has a
shortcut; then is clipped. Weights are [out, channels, k, k] or [out, in], as in D.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf, prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .description import Dims

Reals = npt.NDArray[np.float64]
Operation = Literal["conv", "gemm", "linear", "pool"]

INPUT = -1
"""The number of the network's input, among those of stages."""

_CHUNK = 64
"""Samples that are computed at a time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """One layer in real numbers; `dims` are its outputs', `add` the shortcut's source, `low` and `high` what it is clipped to.

    `name` is the ONNX node's. A pool gives means of k × k cells and has no weights.
    """

    name: str
    op: Operation
    dims: Dims
    source: int
    k: int = 1
    stride: int = 1
    pad: int = 0
    weights: Reals | None = None
    bias: Reals | None = None
    add: int | None = None
    low: float = -inf
    high: float = inf

    @property
    def matrix(self) -> Reals:
        """The weights as [out, reduction]."""
        assert self.weights is not None
        return self.weights.reshape(len(self.weights), -1)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Stages in an order in which they can be computed; the last one's output is the network's."""

    in_dims: Dims
    stages: tuple[Stage, ...]

    def dims(self, index: int) -> Dims:
        """The dimensions of a stage's output, or of the input."""
        return self.in_dims if index == INPUT else self.stages[index].dims


def read_network(answer: Mapping[str, Any], numbers: bytes) -> Network:
    """The network that `_reading.read` wrote: its answer, and the file of little-endian binary64 numbers, in stages' order."""
    flat = np.frombuffer(numbers, dtype="<f8")
    stages, at = [], 0
    for item in answer["stages"]:
        shape = item.pop("shape")
        if shape is not None:
            size = prod(shape)
            weights, bias = np.split(flat[at : at + size + shape[0]], [size])
            item |= {"weights": weights.reshape(shape), "bias": bias}
            at += size + shape[0]
        bounds = {key: float(item.pop(key)) for key in ("low", "high")}
        stages.append(Stage(**{**item, **bounds, "dims": tuple(item["dims"])}))
    return Network(tuple(answer["in_dims"]), tuple(stages))


def with_copy(network: Network) -> Network:
    """The network with one more stage in front, which hands its input on: an activation may be signed, and be a shortcut."""
    copy = same(network.in_dims, INPUT, "input")
    moved = [
        replace(stage, source=stage.source + 1, add=None if stage.add is None else stage.add + 1)
        for stage in network.stages
    ]
    return Network(network.in_dims, (copy, *moved))


def same(dims: Dims, source: int, name: str) -> Stage:
    """A stage that changes nothing: an identity of as many rows as there are channels."""
    count = dims[0] if len(dims) == 3 else dims[-1]
    op: Operation = "conv" if len(dims) == 3 else "linear" if len(dims) == 2 else "gemm"
    eye = np.eye(count)
    weights = eye[:, :, None, None] if op == "conv" else eye
    return Stage(name=name, op=op, dims=dims, source=source, weights=weights, bias=np.zeros(count))


def compute(network: Network, inputs: Reals) -> Iterator[list[Reals]]:
    """Every stage's outputs for some of the samples after the other, each [n, …]; `inputs` are [samples, …] of any such shape."""
    for start in range(0, len(inputs), _CHUNK):
        x = inputs[start : start + _CHUNK].reshape(-1, *network.in_dims)
        found: list[Reals] = []
        for stage in network.stages:
            value = _stage(stage, x if stage.source == INPUT else found[stage.source])
            if stage.add is not None:
                value = value + (x if stage.add == INPUT else found[stage.add])
            found.append(np.clip(value, stage.low, stage.high))
        yield found


def _stage(stage: Stage, x: Reals) -> Reals:
    if stage.op == "pool":
        k, (_, down, across) = stage.k, stage.dims
        whole = x[:, :, : down * k, : across * k]
        mean: Reals = whole.reshape(*x.shape[:2], down, k, across, k).mean(axis=(3, 5))
        return mean
    assert stage.bias is not None
    if stage.op == "linear":
        return x @ stage.matrix.T + stage.bias
    if stage.op == "gemm":
        return x.reshape(len(x), -1) @ stage.matrix.T + stage.bias
    edge, step = stage.pad, stage.stride
    wide = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (stage.k, stage.k), axis=(2, 3))
    rows = windows[:, :, ::step, ::step].transpose(0, 2, 3, 1, 4, 5)
    product = rows.reshape(*rows.shape[:3], -1) @ stage.matrix.T + stage.bias
    return np.ascontiguousarray(product.transpose(0, 3, 1, 2))
