"""Range checks of all columns at once: logUp by a tree of fractions (specification, section 6.3).

Each cell of the polynomial outside the block of multiplicities has a tag, its width; a cell of tag k must be in [0, 2^k).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .field import ONE, ZERO, K, add, lerp, mul, scale, sub, total
from .functionals import Cells, Claim, Term, selector
from .layout import Block, Limb
from .messages import Messages
from .multilinear import Point
from .refusal import Step, require
from .rounds import eq_sumcheck

Tag = Callable[[Point], K]
"""``tag~``: the extension of the tags at a point of the whole polynomial, 0 on the multiplicities."""


def check(
    messages: Messages, variables: int, multiplicities: Block, tag: Tag, polynomial: int
) -> list[Claim]:
    """Steps 3 to 6: that every cell is in its range, if the claims about `polynomial` hold.

    `variables` are the polynomial's; raises `Rejected`.
    """
    alpha, beta = messages.transcript.challenges(b"logup", 2)
    point, numerator, denominator = _tree(messages, variables)
    value, multiplicity = messages.pair(b"lu")
    low, chosen = point[: multiplicities.bits], selector(multiplicities, point)
    require(
        numerator == sub(sub(ONE, chosen), mul(chosen, multiplicity)),
        Step.LOOKUP_NUMERATOR,
        "the leaves have another numerator",
    )
    table_value, table_tag = table_at(low)
    cell = sub(value, mul(chosen, multiplicity))
    entry = mul(chosen, add(table_value, mul(beta, table_tag)))
    expected = sub(sub(sub(alpha, cell), mul(beta, tag(point))), entry)
    require(denominator == expected, Step.LOOKUP_DENOMINATOR, "the leaves have another denominator")
    whole = Block(0, variables)
    return [
        Claim((Term(polynomial, whole, ONE, Cells(point)),), value),
        Claim((Term(polynomial, multiplicities, ONE, Cells(low)),), multiplicity),
    ]


def _tree(messages: Messages, variables: int) -> tuple[list[K], K, K]:
    """A point of the leaves, and the numerator and denominator that they must have there."""
    p0, p1, q0, q1 = messages.elements(b"root", 4)
    require(add(mul(p0, q1), mul(p1, q0)) == ZERO, Step.LOOKUP_SUM, "the fractions do not sum to zero")
    require(mul(q0, q1) != ZERO, Step.LOOKUP_SUM, "a denominator is zero")
    last = messages.transcript.challenge(b"tau")
    point = [last]
    numerator, denominator = lerp(p0, p1, last), lerp(q0, q1, last)
    for _ in range(1, variables):
        mix = messages.transcript.challenge(b"lam")
        claim, point = eq_sumcheck(messages, b"g", add(mul(mix, numerator), denominator), point)
        p0, p1, q0, q1 = messages.elements(b"gf", 4)
        layer = add(mul(mix, add(mul(p0, q1), mul(p1, q0))), mul(q0, q1))
        require(layer == claim, Step.LOOKUP_LAYER, "a layer does not follow from the one below")
        last = messages.transcript.challenge(b"tau")
        point.append(last)
        numerator, denominator = lerp(p0, p1, last), lerp(q0, q1, last)
    return point, numerator, denominator


def table_at(point: Point) -> tuple[K, K]:
    """The range table's value and tag at a point: slot i holds ``(i - 2^k, k)`` for ``k = floor(log2 i)``, slot 0 ``(0, 0)``."""
    # lows[k] = sum over j < k of 2^j z_j.
    lows = [ZERO]
    for position, coordinate in enumerate(point):
        lows.append(add(lows[-1], scale(coordinate, 1 << position)))
    value = tag = ZERO
    above = ONE
    for position in reversed(range(len(point))):
        chosen = mul(point[position], above)
        value = add(value, mul(chosen, lows[position]))
        tag = add(tag, scale(chosen, position))
        above = sub(above, chosen)
    return value, tag


def column_tags(limbs: Iterable[Limb]) -> Tag:
    """The tags of whole blocks, padding included."""
    found = tuple(limbs)

    def tag(point: Point) -> K:
        return total(scale(selector(limb.block, point), limb.width) for limb in found)

    return tag
