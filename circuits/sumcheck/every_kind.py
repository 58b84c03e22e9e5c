"""Networks whose proofs call every kernel: what a warm-up proves.

Together they have every operation, a shortcut, an earlier source, activations of both signs, and enough cells for threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .description import PROTOCOL, Description, Weights, commitment_parameters, finish
from .layout import layout_of
from .weights import weight_shapes

_RELU = {"M": 1, "s": 7, "a": 8, "lo": 0, "nb": 0, "hb": 0}
_SIGNED = {"M": 3, "s": 9, "a": 7, "lo": -64, "nb": 0, "hb": 0}
_FRAME: Description = {"proto": PROTOCOL, "t": 9, "in_bits": 8, "pcs": commitment_parameters()}

_IMAGE: list[dict[str, Any]] = [
    {"op": "conv", "k": 3, "stride": 1, "pad": 1, "cout": 3, **_RELU},
    {"op": "pool", "k": 2, **_RELU, "s": 2},
    {"op": "conv", "k": 2, "stride": 1, "pad": 1, "cout": 5, **_SIGNED},
    {"op": "conv", "k": 1, "stride": 2, "pad": 0, "cout": 5, "src": 1, **_SIGNED},
    {"op": "conv", "k": 2, "stride": 2, "pad": 0, "cout": 5, "src": 2, "res": {"src": 3, "c": -90}, **_RELU},
    {"op": "gemm", "nout": 64, "final": 1},
]
_ROWS: list[dict[str, Any]] = [
    {"op": "linear", "nout": 6, **_SIGNED},
    {"op": "linear", "nout": 9, **_RELU},
    {"op": "gemm", "nout": 4, "final": 1},
]


def every_kind() -> Iterator[tuple[Description, Weights]]:
    """Each D with random weights."""
    for dims, layers in (([2, 40, 40], _IMAGE), ([5, 6], _ROWS)):
        outline = {**_FRAME, "in_dims": dims, "layers": layers}
        random = np.random.default_rng(1)
        weights = {
            name: random.integers(-99, 99, shape) for name, shape in weight_shapes(layout_of(outline)).items()
        }
        yield finish(outline, weights), weights
