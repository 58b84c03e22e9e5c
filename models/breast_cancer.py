"""``breast_cancer``: 30 features of a cell sample in, malignant or benign out; a 30-16-2 MLP."""

from __future__ import annotations

from typing import Any

from sklearn.datasets import load_breast_cancer
from torch import nn

from .data import Split, breast_cancer
from .definition import Definition, Training, decimal

# Outliers reach 12 standard deviations; halved, they stay inside the circuit's range with room to spare.
SPREAD = 2.0


def network() -> nn.Module:
    """[1, 30] to [1, 2]."""
    return nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 2))


def describe(split: Split) -> dict[str, Any]:
    """Each feature is standardised by the training set's mean and twice its standard deviation."""
    mean, spread = split.train.mean(axis=0), split.train.std(axis=0) * SPREAD
    return {
        "task": "classification",
        "labels": ["malignant", "benign"],
        "inputs": [
            {
                "name": "features",
                "dtype": "FP32",
                "shape": [1, 30],
                "raw": {
                    "kind": "fields",
                    "fields": [str(name) for name in load_breast_cancer().feature_names],
                },
                "preprocessing": [
                    {
                        "op": "affine",
                        "subtract": [decimal(float(value)) for value in mean],
                        "divide": [decimal(float(value)) for value in spread],
                    }
                ],
            }
        ],
        "outputs": [{"name": "scores", "dtype": "FP32", "shape": [1, 2], "postprocessing": []}],
    }


DEFINITION = Definition(
    name="breast_cancer",
    title="Malignant or benign, from 30 features of a fine-needle sample",
    data="Breast Cancer Wisconsin (Diagnostic), UCI, CC BY 4.0, as shipped in scikit-learn.",
    load=breast_cancer,
    training=Training(network=network, epochs=60, batch=32, learning_rate=3e-3, weight_decay=1e-2, noise=0.1),
    describe=describe,
)
