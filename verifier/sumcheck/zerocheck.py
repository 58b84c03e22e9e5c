"""That activations are clamped exactly where the rescaled accumulator leaves their range (specification, section 6.4).

On the stack of all layers that can saturate: ``Y N + gamma (HI - Y) H = 0`` everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from .description import Description
from .field import ZERO, add, mul, scale, sub
from .functionals import Cells, Claim, Term, selector
from .layout import Columns, Layout, Limb
from .messages import Messages
from .refusal import Step, require
from .rounds import eq_sumcheck


def check(messages: Messages, description: Description, places: Layout, polynomial: int) -> list[Claim]:
    """Step 7; no claims where no layer can saturate. Raises `Rejected`."""
    stack = places.clamped
    if not stack.blocks:
        return []
    where = messages.transcript.challenges(b"zc", stack.bits)
    gamma = messages.transcript.challenge(b"gam")
    claim, point = eq_sumcheck(messages, b"z", ZERO, where)
    activation, below, above = messages.elements(b"zf", 3)
    highest = ZERO
    terms: tuple[list[Term], list[Term], list[Term]] = ([], [], [])
    for index, block in stack.blocks.items():
        chosen = selector(block, point)
        rescaling = description.layers[index].rescaling
        assert rescaling is not None  # only such layers are stacked
        highest = add(highest, scale(chosen, (1 << rescaling.width) - 1))
        here = Cells(point[: block.bits])
        for group, limbs in zip(terms, _groups(places.columns[index]), strict=True):
            group += [Term(polynomial, limb.block, scale(chosen, 1 << limb.position), here) for limb in limbs]
    found = add(mul(activation, below), mul(gamma, mul(sub(highest, activation), above)))
    require(found == claim, Step.ZEROCHECK, "a clamp is not where it must be")
    values = (activation, below, above)
    return [Claim(tuple(group), value) for group, value in zip(terms, values, strict=True)]


def _groups(columns: Columns) -> Sequence[Sequence[Limb]]:
    return (columns.activation,), columns.below, columns.above
