"""``digits_mlp``: the digit's 64 pixels in, its value out; one hidden layer."""

from __future__ import annotations

from torch import nn

from .definition import Definition, Training
from .digits import PROVENANCE, flat_spec, more_held_out


def network() -> nn.Module:
    """[1, 64] to [1, 10]; 2,410 parameters."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


DEFINITION = Definition(
    name="digits_mlp",
    title="Handwritten digits, a multilayer perceptron",
    data=PROVENANCE,
    load=more_held_out,
    training=Training(
        network=network, epochs=80, batch=32, learning_rate=3e-3, weight_decay=1e-3, noise=0.15
    ),
    describe=flat_spec,
)
