"""A package's ``weights.bin``: the integer weights of a D as bytes.

Layer by layer: the weights, 32 bits each, then the biases, 64 bits each; little-endian two's complement, row-major, unpadded.
Their shapes follow from D, so nothing else is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import numpy as np

from verinfer.verifier.errors import CouldNotCheck

from .description import Integers, Weights
from .layout import Layout

_WEIGHT, _BIAS = "<i4", "<i8"
"""What D's widest weights, of 32 bits, and biases, of 48, fit into."""


def weight_shapes(layout: Layout) -> Mapping[str, tuple[int, ...]]:
    """The shape of each ``W<l>`` and ``b<l>``, in the layers' order."""
    return dict(_shapes(layout))


def _shapes(layout: Layout) -> Iterator[tuple[str, tuple[int, ...]]]:
    for stage in layout.stages:
        if stage.weighted:
            shape = (stage.outputs, *stage.reduction)
            if stage.operation == "conv":
                shape = (stage.outputs, stage.given[0], stage.layer["k"], stage.layer["k"])
            yield f"W{stage.index}", shape
            yield f"b{stage.index}", shape[:1]


def write_weights(layout: Layout, weights: Weights) -> bytes:
    """The bytes of weights that `prover.setup` took."""
    return b"".join(weights[name].astype(_type(name)).tobytes() for name in weight_shapes(layout))


def read_weights(layout: Layout, data: bytes) -> Weights:
    """The weights in `data`; raises `CouldNotCheck` (``artifact-torn``) where there are more or fewer than D has."""
    shapes = weight_shapes(layout)
    size = sum(prod(shape) * np.dtype(_type(name)).itemsize for name, shape in shapes.items())
    if len(data) != size:
        raise CouldNotCheck(
            "artifact-torn", f"The weights take {len(data)} bytes; the network's have {size}."
        )
    found: dict[str, Integers] = {}
    at = 0
    for name, shape in shapes.items():
        part = np.frombuffer(data, _type(name), prod(shape), at)
        at += part.nbytes
        found[name] = part.astype(np.int64).reshape(shape)
    return found


def _type(name: str) -> str:
    return _WEIGHT if name.startswith("W") else _BIAS
