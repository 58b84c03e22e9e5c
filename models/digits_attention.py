"""``digits_attention``: the digit's eight rows as tokens; two transformer blocks (Vaswani et al., 2017), normalised first."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .data import Split
from .definition import Definition, Training
from .digits import PROVENANCE, more_held_out, token_spec

TOKENS, WIDTH, HEADS = 8, 16, 2


class Block(nn.Module):
    """[N, tokens, width] to the same: attention, then two linear layers, each beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_layers = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.layers = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """One block."""
        tokens = tokens + self._attention(self.before_attention(tokens))
        changed: torch.Tensor = self.layers(self.before_layers(tokens))
        return tokens + changed

    def _attention(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            layer(tokens).reshape(-1, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = torch.matmul(query, key.transpose(2, 3)) * (WIDTH // HEADS) ** -0.5
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
        joined: torch.Tensor = self.out(mixed.transpose(1, 2).reshape(-1, TOKENS, WIDTH))
        return joined


class Attention(nn.Module):
    """[N, 8, 8] to [N, 10]: tokens with learned positions, two blocks, the mean of the tokens to a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, WIDTH)
        self.position = nn.Parameter(torch.randn(1, TOKENS, WIDTH) * 0.1)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The logits."""
        logits: torch.Tensor = self.head(self.norm(self.blocks(self.embed(rows) + self.position)).mean(dim=1))
        return logits


def describe(_split: Split) -> dict[str, Any]:
    """Grey levels from 0 to 16 become 0 to 1."""
    return token_spec("rows")


DEFINITION = Definition(
    name="digits_attention",
    title="Handwritten digits row by row, two transformer blocks",
    data=PROVENANCE,
    load=more_held_out,
    training=Training(
        network=Attention, epochs=80, batch=32, learning_rate=3e-3, weight_decay=1e-2, noise=0.1
    ),
    describe=describe,
)
