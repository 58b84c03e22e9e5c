"""What makes a model from outside plain: fixed shapes, two datatypes, only ``ai.onnx`` operators.

Nothing here is a choice but whether a head is cut off, which is its owner's.

Takes a model that holds no more than `_onnx` lets through before adoption; gives one for its full check.
One file and one version of verinfer give one result, so a rebuild adopts again before it replays the rewrites that were chosen.
"""

from __future__ import annotations

import onnx

from .cut_head import cut_head
from .fixed_sizes import FIXED, fixed_sizes
from .ml_operators import ML_OPERATORS, cut_labels, ml_operators
from .plain_names import plain_names
from .plain_types import plain_types
from .quantised import QUANTISED, quantised
from .rules import Rule
from .spelled_out import SPELLED_OUT, spelled_out
from .static_shapes import static_shapes

ADOPTION: tuple[Rule, ...] = (
    Rule("cut-labels", cut_labels),
    Rule("static-shapes", static_shapes),
    Rule("plain-types", plain_types),
    Rule("ml-operators", ml_operators),
    Rule("fixed-sizes", fixed_sizes),
    Rule("quantised", quantised),
    Rule("spelled-out", spelled_out),
    Rule("plain-names", plain_names),
)

CUT_HEAD = Rule("cut-head", cut_head)
"""Where shapes are known and datatypes plain."""

ADOPTED: frozenset[str] = ML_OPERATORS | FIXED | SPELLED_OUT | QUANTISED
"""Operators, with ``ai.onnx.ml:`` where they are of that domain, that a file may hold before adoption and not after."""


def adopt(model: onnx.ModelProto, *, without_head: bool = False) -> tuple[onnx.ModelProto, list[str]]:
    """The plain model, without its head if its owner wants that, and the names of the steps that changed it.

    Raises `Malformed` (``model-refused``, ``model-unsupported``).
    """
    names = []
    for rule in [*ADOPTION, CUT_HEAD] if without_head else ADOPTION:
        changed = rule.apply(model)
        if changed is not model:
            names.append(rule.name)
        model = changed
    return model, names
