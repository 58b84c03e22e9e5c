"""``lenet``: LeNet-5 on digits resized to 28×28, for benchmarks (LeCun et al., 1998; ReLU instead of tanh)."""

from __future__ import annotations

from typing import Any

from torch import nn

from .data import Split, digits
from .definition import Definition, Training
from .digits import image_spec


def network() -> nn.Module:
    """[1, 1, 28, 28] to [1, 10]; 61,706 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def describe(_split: Split) -> dict[str, Any]:
    """Grey levels from 0 to 16 become 0 to 1."""
    return image_spec(28)


DEFINITION = Definition(
    name="lenet",
    title="Handwritten digits resized to 28×28, LeNet-5",
    data="Optical Recognition of Handwritten Digits, UCI, CC BY 4.0, as shipped in scikit-learn; resized bilinearly.",
    load=lambda: digits(28),
    training=Training(network=network, epochs=15, batch=32, learning_rate=2e-3, weight_decay=1e-3, noise=0.1),
    describe=describe,
)
