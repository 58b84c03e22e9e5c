"""What defines one model of the zoo: data, network, training, and the spec that travels with it.

A definition is a value; `registry` lists them, `train` and `export` work on any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .data import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Hyperparameters; `noise` is Gaussian noise on the standardised input, which also makes a net robust to quantisation."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One model. `describe(split)` gives the parts of the spec that do not depend on training."""

    name: str
    title: str
    data: str
    load: Callable[[], Split]
    network: Callable[[], torch.nn.Module]
    training: Training
    describe: Callable[[Split], dict[str, Any]]
    seed: int = 0
    version: str = "1"


def decimal(value: float, places: int = 6) -> str:
    """`value` as a short decimal string, as specs carry real numbers."""
    text = f"{value:.{places}f}".rstrip("0").rstrip(".")
    return text or "0"
