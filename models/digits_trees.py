"""``digits_trees``: the digit's 64 pixels in, its value out; a hundred gradient-boosted trees."""

from __future__ import annotations

from .definition import Boosting, Definition
from .digits import PROVENANCE, flat_spec, more_held_out

DEFINITION = Definition(
    name="digits_trees",
    title="Handwritten digits, gradient-boosted trees",
    data=PROVENANCE,
    load=more_held_out,
    training=Boosting(rounds=10, depth=3, learning_rate=0.4, step=1 / 16),
    describe=flat_spec,
)
