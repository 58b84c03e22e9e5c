"""``digits``: a handwritten digit of 8×8 grey pixels in, its value out; one small convolution, the demo's model."""

from __future__ import annotations

from typing import Any

from torch import nn

from .data import Split, digits
from .definition import Definition, Training

PROVENANCE = "Optical Recognition of Handwritten Digits, UCI, CC BY 4.0, as shipped in scikit-learn."


def network() -> nn.Module:
    """[1, 1, 8, 8] to [1, 10]."""
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def describe(_split: Split) -> dict[str, Any]:
    """Grey levels from 0 to 16 become 0 to 1."""
    return image_spec(8)


def more_held_out() -> Split:
    """The same digits, 8×8 and flat, with a third held out: 599, enough to tell 99.5 % from less."""
    split = digits(8, held_out=1 / 3)
    return Split(
        split.train.reshape(-1, 64),
        split.train_targets,
        split.held_out.reshape(-1, 64),
        split.held_out_targets,
    )


def image_spec(size: int) -> dict[str, Any]:
    """The spec's tensors for one grey digit of size × size pixels, as convolutions take it."""
    return _spec("image", [1, 1, size, size], size)


def flat_spec(_split: Split) -> dict[str, Any]:
    """The spec's tensors for one digit of 8×8 pixels, as 64 numbers in a row."""
    return _spec("pixels", [1, 64], 8)


def token_spec(name: str) -> dict[str, Any]:
    """The spec's tensors for one digit of 8×8 pixels, as eight rows of eight."""
    return _spec(name, [1, 8, 8], 8)


def _spec(name: str, shape: list[int], size: int) -> dict[str, Any]:
    return {
        "task": "classification",
        "labels": [str(digit) for digit in range(10)],
        "inputs": [
            {
                "name": name,
                "dtype": "FP32",
                "shape": shape,
                "raw": {"kind": "image", "width": size, "height": size, "maximum": 16},
                "preprocessing": [{"op": "affine", "subtract": ["0"], "divide": ["16"]}],
            }
        ],
        "outputs": [{"name": "logits", "dtype": "FP32", "shape": [1, 10], "postprocessing": []}],
    }


DEFINITION = Definition(
    name="digits",
    title="Handwritten digits, 8×8",
    data=PROVENANCE,
    load=lambda: digits(8),
    training=Training(
        network=network, epochs=120, batch=32, learning_rate=3e-3, weight_decay=1e-3, noise=0.15
    ),
    describe=describe,
)
