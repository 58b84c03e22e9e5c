"""``digits``: a handwritten digit of 8×8 grey pixels in, its value out; one small convolution, the demo's model."""

from __future__ import annotations

from typing import Any

from torch import nn

from .data import Split, digits
from .definition import Definition, Training


def network() -> nn.Module:
    """[1, 1, 8, 8] to [1, 10]."""
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def describe(_split: Split) -> dict[str, Any]:
    """Grey levels from 0 to 16 become 0 to 1."""
    return image_spec(8)


def image_spec(size: int) -> dict[str, Any]:
    """The spec's tensors for one grey digit of size × size pixels."""
    return {
        "task": "classification",
        "labels": [str(digit) for digit in range(10)],
        "inputs": [
            {
                "name": "image",
                "dtype": "FP32",
                "shape": [1, 1, size, size],
                "raw": {"kind": "image", "width": size, "height": size, "maximum": 16},
                "preprocessing": [{"op": "affine", "subtract": ["0"], "divide": ["16"]}],
            }
        ],
        "outputs": [{"name": "logits", "dtype": "FP32", "shape": [1, 10], "postprocessing": []}],
    }


DEFINITION = Definition(
    name="digits",
    title="Handwritten digits, 8×8",
    data="Optical Recognition of Handwritten Digits, UCI, CC BY 4.0, as shipped in scikit-learn.",
    load=lambda: digits(8),
    network=network,
    training=Training(epochs=120, batch=32, learning_rate=3e-3, weight_decay=1e-3, noise=0.15),
    describe=describe,
)
