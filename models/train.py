"""Trains a definition's network, the same way every time: one thread, one seed, shuffled by its own generator."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from .definition import Boosting, Definition, OnEpoch
from .trees import boost


def train(
    definition: Definition,
    samples: npt.NDArray[np.float32],
    targets: npt.NDArray[np.generic],
    on_epoch: OnEpoch,
) -> nn.Module:
    """The trained network, in evaluation mode.

    `samples` are preprocessed, [N, …]; `targets` are labels (int64) or normalised values (float32, [N, outputs]).
    """
    plan = definition.training
    if isinstance(plan, Boosting):
        forest, _ = boost(plan, samples, targets, seed=definition.seed, on_epoch=on_epoch)
        return forest.eval()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(definition.seed)
    generator = torch.Generator().manual_seed(definition.seed)
    net = plan.network()
    inputs, wanted = torch.from_numpy(samples), torch.from_numpy(targets)
    loss = nn.CrossEntropyLoss(label_smoothing=0.05) if wanted.dtype == torch.int64 else nn.MSELoss()
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan.epochs)
    for epoch in range(plan.epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for start in range(0, len(inputs), plan.batch):
            chosen = order[start : start + plan.batch]
            batch = inputs[chosen]
            batch = batch + plan.noise * torch.randn(batch.shape, generator=generator)
            optimiser.zero_grad()
            loss(net(batch), wanted[chosen]).backward()
            optimiser.step()
        schedule.step()
        on_epoch(epoch + 1, plan.epochs)
    return net.eval()
