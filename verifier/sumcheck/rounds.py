"""Rounds of a sumcheck over a quadratic, as they are sent (specification, section 6.1).

A message is the quadratic's constant and its leading coefficient; its value at 1 follows from the running claim.
"""

from __future__ import annotations

from .field import ONE, ZERO, K, add, inverse, mul, sub
from .messages import Messages
from .multilinear import Point
from .refusal import Step, require


def sumcheck(messages: Messages, label: bytes, claim: K, variables: int) -> tuple[K, list[K]]:
    """The final claim and the challenges of a plain sumcheck: ``t(0) + t(1)`` is the running claim."""
    challenges: list[K] = []
    for _ in range(variables):
        constant, leading = messages.pair(label)
        claim = _next(messages, constant, sub(claim, constant), leading, challenges)
    return claim, challenges


def eq_sumcheck(messages: Messages, label: bytes, claim: K, point: Point) -> tuple[K, list[K]]:
    """The same with the factor ``eq(point, x)`` left out of messages and claims: ``(1 - z) t(0) + z t(1)`` is the claim."""
    challenges: list[K] = []
    for coordinate in point:
        constant, leading = messages.pair(label)
        require(coordinate != ZERO, Step.ZERO_CHALLENGE, "a coordinate is zero")
        at_one = mul(sub(claim, mul(sub(ONE, coordinate), constant)), inverse(coordinate))
        claim = _next(messages, constant, at_one, leading, challenges)
    return claim, challenges


def _next(messages: Messages, constant: K, at_one: K, leading: K, challenges: list[K]) -> K:
    """The value at the round's challenge, which is drawn here and appended."""
    point = messages.transcript.challenge(b"r")
    challenges.append(point)
    linear = sub(sub(at_one, constant), leading)
    return add(constant, mul(point, add(linear, mul(point, leading))))
