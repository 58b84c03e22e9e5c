"""What defines one model of the zoo: data, network, training, and the spec that travels with it.

A definition is a value; `registry` lists them, `train` and `export` work on any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .data import Split

OnEpoch = Callable[[int, int], None]
"""Hears how many epochs or rounds are done, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A network and how it is trained; `noise` is Gaussian, on the standardised input, and helps against quantisation too."""

    network: Callable[[], torch.nn.Module]
    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosting:
    """Gradient boosting of decision trees: in each round one tree of at most `depth` for each class.

    Inputs are whole multiples of `step`, and thresholds lie midway between two.
    """

    rounds: int
    depth: int
    learning_rate: float
    step: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One model. `describe(split)` gives the parts of the spec that do not depend on training."""

    name: str
    title: str
    data: str
    load: Callable[[], Split]
    training: Training | Boosting
    describe: Callable[[Split], dict[str, Any]]
    seed: int = 0
    version: str = "1"


def decimal(value: float, places: int = 6) -> str:
    """`value` as a short decimal string, as specs carry real numbers."""
    text = f"{value:.{places}f}".rstrip("0").rstrip(".")
    return text or "0"
