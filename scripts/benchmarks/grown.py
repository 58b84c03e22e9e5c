"""Integer networks of growing size with random weights, for how a proof's cost grows; what they compute means nothing.

Shifts are such that activations of random inputs neither vanish nor all saturate; a proof's cost does not depend on values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import ceil, log2, prod
from typing import Any

import numpy as np

from verinfer.circuits.sumcheck.description import (
    PROTOCOL,
    Description,
    Integers,
    Weights,
    commitment_parameters,
    finish,
    layer_dims,
)

BITS = 8
"""Of activations, limbs, inputs and weights."""


class _Network:
    """A network that grows layer by layer; `dims` are those of the last activation."""

    def __init__(self, in_dims: tuple[int, ...], seed: int) -> None:
        self.layers: list[dict[str, Any]] = []
        self.weights: dict[str, Integers] = {}
        self.shapes: list[tuple[int, ...]] = []
        self._in_dims = in_dims
        self._random = np.random.default_rng(seed)

    @property
    def last(self) -> int:
        """The index of the last layer; -1 is the input."""
        return len(self.layers) - 1

    def add(self, layer: Mapping[str, Any], *, source: int | None = None, shortcut: int | None = None) -> int:
        """Put a layer on, of the last activation or of an earlier one, plus an activation perhaps; gives its index."""
        index, origin = len(self.layers), self.last if source is None else source
        given = self._in_dims if origin < 0 else self.shapes[origin]
        terms = layer["k"] ** 2 if layer["op"] == "pool" else self._weigh(index, layer, given)
        # The standard deviation of a sum of products, in bits beyond an activation's.
        shift = ceil(log2(terms)) if layer["op"] == "pool" else max(1, BITS - 2 + ceil(log2(terms) / 2))
        whole: dict[str, Any] = {**layer, "M": 1, "s": shift, "a": BITS, "lo": 0}
        if origin != index - 1:
            whole["src"] = origin
        if shortcut is not None:
            whole["res"] = {"src": shortcut, "c": 1 << shift}
        self.layers.append(whole)
        self.shapes.append(layer_dims(whole, given))
        return index

    def _weigh(self, index: int, layer: Mapping[str, Any], given: tuple[int, ...]) -> int:
        outputs = layer["cout"] if layer["op"] == "conv" else layer["nout"]
        shape = (given[0], layer["k"], layer["k"]) if layer["op"] == "conv" else (prod(given),)
        most = 1 << (BITS - 1)
        self.weights[f"W{index}"] = self._random.integers(-most, most, (outputs, *shape))
        self.weights[f"b{index}"] = self._random.integers(-most, most, outputs)
        return prod(shape)

    def finish(self) -> tuple[Description, Weights]:
        """D and weights; the last layer's accumulator is the output."""
        last = {name: value for name, value in self.layers[-1].items() if name not in ("M", "s", "a", "lo")}
        description = {
            "proto": PROTOCOL,
            "t": BITS,
            "in_dims": list(self._in_dims),
            "in_bits": BITS,
            "layers": [*self.layers[:-1], {**last, "final": 1}],
            "pcs": commitment_parameters(),
        }
        return finish(description, self.weights), self.weights


def _conv(cout: int, *, k: int = 3, stride: int = 1) -> dict[str, Any]:
    return {"op": "conv", "k": k, "stride": stride, "pad": k // 2, "cout": cout}


def resnet18() -> tuple[Description, Weights]:
    """ResNet-18 as it is used on CIFAR-10: 3x32x32 in, four stages of two blocks, 64 to 512 channels, 11.2 million weights."""
    network = _Network((3, 32, 32), seed=18)
    network.add(_conv(64))
    for channels in (64, 128, 256, 512):
        for block in range(2):
            stride = 2 if channels > 64 and block == 0 else 1
            start = network.last
            network.add(_conv(channels, stride=stride))
            second_source = network.last
            if stride == 2:
                start = network.add(_conv(channels, k=1, stride=2), source=start)
            network.add(_conv(channels), source=second_source, shortcut=start)
    network.add({"op": "pool", "k": 4})
    network.add({"op": "gemm", "nout": 10})
    return network.finish()


def convolutions(channels: int) -> tuple[Description, Weights]:
    """Four 3x3 convolutions on 3x32x32, the second and the fourth halving it, of so many channels, and a dense layer."""
    network = _Network((3, 32, 32), seed=channels)
    for stride in (1, 2, 1, 2):
        network.add(_conv(channels, stride=stride))
    network.add({"op": "gemm", "nout": 10})
    return network.finish()


def multiplications(description: Description) -> int:
    """Products of a weight and an activation in one forward pass."""
    given, total = tuple(description["in_dims"]), 0
    shapes: list[tuple[int, ...]] = []
    for index, layer in enumerate(description["layers"]):
        origin = layer.get("src", index - 1)
        before = given if origin < 0 else shapes[origin]
        shapes.append(layer_dims(layer, before))
        if layer["op"] == "conv":
            total += prod(shapes[-1]) * before[0] * layer["k"] ** 2
        elif layer["op"] != "pool":
            total += shapes[-1][-1] * prod(before)
    return total


SERIES: dict[str, Callable[[], tuple[Description, Weights]]] = {
    **{f"conv-{channels}": partial(convolutions, channels) for channels in (8, 16, 32, 64, 128)},
    "resnet18": resnet18,
}
"""By name, the smallest first."""
