"""From many claims about two polynomials to one value of each at one point (specification, section 6.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .field import ONE, K, P, add, mul, scale, total
from .functionals import Claim
from .messages import Messages
from .refusal import Step, require
from .rounds import sumcheck

_HALF = (P + 1) // 2


@dataclass(frozen=True, slots=True)
class Opened:
    """That each polynomial has its value at the last of the point's coordinates, as many as it has variables."""

    point: list[K]
    values: tuple[K, K]


def check(messages: Messages, claims: Sequence[Claim], variables: tuple[int, int]) -> Opened:
    """Step 9: the claims hold if the opened values are right. `variables` are the polynomials'; raises `Rejected`."""
    eta = messages.transcript.challenge(b"eta")
    powers = [ONE]
    for _ in claims[1:]:
        powers.append(mul(powers[-1], eta))
    mixed = total(mul(power, claim.value) for power, claim in zip(powers, claims, strict=True))
    largest = max(variables)
    left, point = sumcheck(messages, b"o", mixed, largest)
    values = messages.pair(b"of")
    # A smaller polynomial is constant in the first variables, and scaled so that its sum stays the same.
    points = [point[largest - own :] for own in variables]
    scales = [pow(_HALF, largest - own, P) for own in variables]
    expected = (0, 0)
    for power, claim in zip(powers, claims, strict=True):
        for term in claim.terms:
            which = term.polynomial
            weight = scale(mul(power, term.at(points[which])), scales[which])
            expected = add(expected, mul(weight, values[which]))
    require(expected == left, Step.OPENING, "a claim about the committed numbers does not hold")
    return Opened(point, values)
