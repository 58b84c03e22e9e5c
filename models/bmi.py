"""``bmi``: three habits in, height and weight out; a 3-32-32-2 MLP on SYNTHETIC data, the smallest model, for tests."""

from __future__ import annotations

from typing import Any

from torch import nn

from .data import Split, habits
from .definition import Definition, Training

HABITS = ["eating", "sleep", "training"]
# Outputs in units of order 1: (cm - 175) / 5 and (kg - 65) / 15.
SCALE = ["5", "15"]
CENTRE = ["175", "65"]


def network() -> nn.Module:
    """[1, 3] to [1, 2]."""
    return nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))


def describe(_split: Split) -> dict[str, Any]:
    """Habits from 0 to 10 become -2 to 2."""
    return {
        "task": "regression",
        "inputs": [
            {
                "name": "habits",
                "dtype": "FP32",
                "shape": [1, 3],
                "raw": {"kind": "fields", "fields": HABITS},
                "preprocessing": [{"op": "affine", "subtract": ["5"], "divide": ["2.5"]}],
            }
        ],
        "outputs": [
            {
                "name": "body",
                "dtype": "FP32",
                "shape": [1, 2],
                "fields": ["height_cm", "weight_kg"],
                "postprocessing": [{"op": "affine", "multiply": SCALE, "add": CENTRE}],
            }
        ],
    }


DEFINITION = Definition(
    name="bmi",
    title="Height and weight from three habits (synthetic)",
    data="SYNTHETIC: made-up people, see models/data.py; says nothing about real ones.",
    load=habits,
    training=Training(network=network, epochs=30, batch=64, learning_rate=3e-3, weight_decay=1e-3, noise=0.0),
    describe=describe,
)
