"""Gradient-boosted decision trees as a network of plain tensor operations.

Every tree is filled up to a perfect one, so that all have the same shape: which decisions lead to which leaf is then one small
matrix for all trees. Takes and gives what any network does, [N, features] to [N, classes].
Sources: Friedman, Greedy Function Approximation (2001), by scikit-learn; the matrix form is Hummingbird's "GEMM" strategy
(Nakandala et al., OSDI 2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import GradientBoostingClassifier
from torch import nn

from .definition import Boosting, OnEpoch


class Forest(nn.Module):
    """Trees of one depth; `features` and `thresholds` are [trees, nodes] in heap order, `leaves` [trees × leaves, classes]."""

    features: torch.Tensor
    thresholds: torch.Tensor
    paths: torch.Tensor
    offset: torch.Tensor
    leaves: torch.Tensor
    start: torch.Tensor

    def __init__(
        self,
        features: npt.NDArray[np.int64],
        thresholds: npt.NDArray[np.float32],
        leaves: npt.NDArray[np.float32],
        start: npt.NDArray[np.float32],
    ) -> None:
        super().__init__()
        self.nodes = features.shape[1]
        depth = self.nodes.bit_length()
        paths = _paths(depth)
        constants = {
            "features": features.ravel(),
            "thresholds": thresholds.ravel(),
            "paths": paths,
            # With it the sum is 1 where every decision on the way agrees, and 0 or less everywhere else: those to the left
            # count while they are *not* taken to the right. A comparison would do, but EZKL 23.0.5 loses its scale.
            "offset": ((paths < 0).sum(axis=0) - depth + 1).astype(np.float32),
            "leaves": leaves,
            "start": start,
        }
        for name, values in constants.items():
            self.register_buffer(name, torch.from_numpy(values))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, features] to [N, classes], the raw scores."""
        right = (torch.index_select(x, 1, self.features) > self.thresholds).float()
        reached = torch.relu(torch.matmul(right.reshape(-1, self.nodes), self.paths) + self.offset)
        return torch.matmul(reached.reshape(-1, self.leaves.shape[0]), self.leaves) + self.start


def boost(
    plan: Boosting,
    samples: npt.NDArray[np.float32],
    labels: npt.NDArray[np.generic],
    *,
    seed: int,
    on_epoch: OnEpoch,
) -> tuple[Forest, GradientBoostingClassifier]:
    """Trees for `samples`, [N, …]; and the classifier that they are taken from.

    Thresholds are put midway between two multiples, where rounding cannot turn a decision.
    """
    flat = np.rint(samples.reshape(len(samples), -1) / plan.step)
    classifier = GradientBoostingClassifier(
        n_estimators=plan.rounds, max_depth=plan.depth, learning_rate=plan.learning_rate, random_state=seed
    )

    def monitor(done: int, *_: Any) -> bool:
        on_epoch(done + 1, plan.rounds)
        return False

    classifier.fit(flat, labels, monitor=monitor)
    return _forest(classifier, flat, plan.step), classifier


def _forest(classifier: Any, flat: npt.NDArray[np.float32], step: float) -> Forest:
    depth = classifier.max_depth
    nodes, leaves = (1 << depth) - 1, 1 << depth
    trees = [(tree.tree_, index) for row in classifier.estimators_ for index, tree in enumerate(row)]
    classes = classifier.estimators_.shape[1]
    features = np.zeros((len(trees), nodes), dtype=np.int64)
    # Where a tree has no node the decision does not matter, but it must be a clear one: nothing is above this.
    thresholds = np.full((len(trees), nodes), flat.max() + 0.5)
    values = np.zeros((len(trees) * leaves, classes), dtype=np.float32)
    for number, (tree, index) in enumerate(trees):
        places = {0: 0}
        for place in range(nodes + leaves):
            node = places[(place - 1) // 2] if place else 0
            if place and tree.children_left[node] >= 0:
                node = int((tree.children_left, tree.children_right)[(place - 1) % 2][node])
            places[place] = node
            if place >= nodes:
                leaf = number * leaves + place - nodes
                values[leaf, index] = classifier.learning_rate * tree.value[node, 0, 0]
            elif tree.children_left[node] >= 0:
                features[number, place] = tree.feature[node]
                thresholds[number, place] = np.floor(tree.threshold[node]) + 0.5
    # What is left without any tree is the start, the same for every sample.
    first = flat[:1]
    grown = sum(
        classifier.learning_rate * np.asarray([tree.predict(first)[0] for tree in row])
        for row in classifier.estimators_
    )
    start = (classifier.decision_function(first)[0] - grown).astype(np.float32)
    return Forest(features, (thresholds * step).astype(np.float32), values, start)


def _paths(depth: int) -> npt.NDArray[np.float32]:
    """[nodes, leaves] of a perfect tree: 1 where the way to a leaf goes right, -1 where left, 0 where it does not pass."""
    nodes, leaves = (1 << depth) - 1, 1 << depth
    paths = np.zeros((nodes, leaves), dtype=np.float32)
    for leaf in range(leaves):
        place = nodes + leaf
        while place:
            place, right = (place - 1) // 2, place % 2 == 0
            paths[place, leaf] = 1 if right else -1
    return paths
