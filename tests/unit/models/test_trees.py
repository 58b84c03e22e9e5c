"""Boosted trees as tensor operations decide as the classifier that they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from verinfer.models.definition import Boosting
from verinfer.models.digits import more_held_out
from verinfer.models.trees import Forest, boost

PLAN = Boosting(rounds=2, depth=3, learning_rate=0.4, step=1 / 16)


def _boost(plan: Boosting = PLAN) -> tuple[Forest, object, np.ndarray]:
    split = more_held_out()
    forest, classifier = boost(
        plan, split.train / np.float32(16), split.train_targets, seed=0, on_epoch=lambda _done, _all: None
    )
    return forest, classifier, split.held_out


def test_scores_equal_the_classifiers() -> None:
    """On every held-out sample each class's score is scikit-learn's, up to the rounding of binary32."""
    forest, classifier, held_out = _boost()
    wanted = classifier.decision_function(held_out)  # type: ignore[attr-defined]  # sklearn ships no types
    scores = forest(torch.from_numpy(held_out / 16)).numpy()
    assert np.abs(scores - wanted).max() < 1e-5


def test_a_tree_that_stops_early_is_filled_up() -> None:
    """At depth 6 some leaves are pure long before the bottom, and scores still equal scikit-learn's."""
    forest, classifier, held_out = _boost(replace(PLAN, depth=6))
    assert any(tree.tree_.node_count < 127 for tree in classifier.estimators_.ravel())  # type: ignore[attr-defined]  # sklearn ships no types
    wanted = classifier.decision_function(held_out)  # type: ignore[attr-defined]  # sklearn ships no types
    assert np.abs(forest(torch.from_numpy(held_out / 16)).numpy() - wanted).max() < 1e-5


def test_rounding_an_input_turns_no_decision() -> None:
    """Inputs moved by almost half a grey level reach the same leaves: quantisation from 5 bits on changes nothing."""
    forest, _, held_out = _boost()
    exact = forest(torch.from_numpy(held_out / 16))
    for shift in (-0.49, 0.49):
        assert torch.equal(forest(torch.from_numpy((held_out + np.float32(shift)) / 16)), exact)


def test_every_round_is_heard_of() -> None:
    """The progress says how many rounds are done, and of how many."""
    split, heard = more_held_out(), []
    boost(
        PLAN,
        split.train / np.float32(16),
        split.train_targets,
        seed=0,
        on_epoch=lambda *step: heard.append(step),
    )
    assert heard == [(1, 2), (2, 2)]
