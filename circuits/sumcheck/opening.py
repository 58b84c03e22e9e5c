"""All claims on both polynomials become one claim about each, at a common point (section 6.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .arena import Arena
from .field import HALF, ONE, ZERO, K, P, Words, k_add, k_mul, k_scale
from .functionals import Claim
from .rounds import Halving
from .tables import dot
from .transcript import Transcript


@dataclass(slots=True)
class _Side:
    """One polynomial against its weights. It has `skipped` variables fewer than the other, and is constant in the first ones."""

    skipped: int
    vectors: Halving
    total: K
    message: tuple[K, K] = (ZERO, ZERO)
    value: K = ZERO

    def message_of(self, turn: int) -> tuple[K, K]:
        """Its part of a round's message."""
        if turn < self.skipped:
            return k_scale(self.total, pow(HALF, turn + 1, P)), ZERO
        if turn == self.skipped:
            self.message = self.vectors.message()
        constant, leading = self.message
        scale = pow(HALF, self.skipped, P)
        return k_scale(constant, scale), k_scale(leading, scale)

    def bind(self, turn: int, r: K) -> None:
        """Bind the round's variable."""
        if turn < self.skipped:
            return
        if len(self.vectors.a) == 2:
            self.value, _ = self.vectors.values(r)
        else:
            self.message = self.vectors.bind(r)


def prove_openings(
    transcript: Transcript, claims: Sequence[Claim], vectors: Sequence[Words], arena: Arena
) -> tuple[list[K], list[K]]:
    """The common point, and each polynomial's extension at its last coordinates there."""
    eta = transcript.challenge(b"eta")
    with arena.scope():
        tables = [arena.elements(len(vector)) for vector in vectors]
        for table in tables:
            table[:] = 0
        factor = ONE
        for claim in claims:
            for term in claim:
                part = tables[term.polynomial][term.block.cells]
                term.weights.add_to(part, k_mul(factor, term.coefficient))
            factor = k_mul(factor, eta)
        turns = max(len(vector) for vector in vectors).bit_length() - 1
        sides = []
        for vector, table in zip(vectors, tables, strict=True):
            skipped = turns - len(vector).bit_length() + 1
            total = dot(vector, table) if skipped else ZERO
            sides.append(_Side(skipped, Halving(vector, table, arena), total))
        point: list[K] = []
        for turn in range(turns):
            messages = [side.message_of(turn) for side in sides]
            transcript.send_k(b"o", *(k_add(*parts) for parts in zip(*messages, strict=True)))
            point.append(transcript.challenge(b"r"))
            for side in sides:
                side.bind(turn, point[-1])
    values = [side.value for side in sides]
    transcript.send_k(b"of", *values)
    return point, values
