"""``digits_lstm``: the digit's eight rows, one by one, into an LSTM (Hochreiter and Schmidhuber, 1997); its value out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .data import Split
from .definition import Definition, Training
from .digits import PROVENANCE, more_held_out, token_spec

HIDDEN = 16


class Lstm(nn.Module):
    """[N, 8, 8] to [N, 10]: eight steps, the last state to a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(8, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 10)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The logits after the last row."""
        states, _ = self.recurrent(rows)
        logits: torch.Tensor = self.head(states[:, -1])
        return logits


def describe(_split: Split) -> dict[str, Any]:
    """Grey levels from 0 to 16 become 0 to 1."""
    return token_spec("rows")


DEFINITION = Definition(
    name="digits_lstm",
    title="Handwritten digits row by row, an LSTM",
    data=PROVENANCE,
    load=more_held_out,
    training=Training(network=Lstm, epochs=120, batch=32, learning_rate=5e-3, weight_decay=1e-3, noise=0.1),
    describe=describe,
)
