"""Folding a leaf of a codeword to one symbol of the codeword of the folded message (specification, section 6.7).

Adjacent symbols ``(a, b)`` are values at X and -X; with ``e = (a+b)/2`` and ``o = (a-b)/2X`` the folded one is ``(1-r) e + r o``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .field import K, P, reverse_bits, root_of_unity

_HALF = (P + 1) // 2


@dataclass(frozen=True, slots=True)
class Fold:
    """How leaves of 2^len(challenges) symbols of a word of 2^length_bits symbols are folded."""

    length_bits: int
    challenges: tuple[K, ...]
    inverses: tuple[tuple[int, ...], ...]
    """By round: 1/X of each pair of leaf 0."""
    inverse_root: int
    """1 / root(length_bits)."""
    halves: int
    """What the rounds leave out: a division by two in each."""

    def leaf(self, index: int, symbols: Sequence[int]) -> K:
        """The symbol that a leaf of elements of F folds to."""
        if not self.challenges:
            return symbols[0], 0
        shift = self._shift(index)
        first, second = self.challenges[0]
        folded = []
        for inverse, a, b in zip(self.inverses[0], symbols[::2], symbols[1::2], strict=True):
            both = a + b
            # Twice the odd part, less twice the even part.
            change = ((a - b) * (shift * inverse % P) - both) % P
            folded.append(((both + first * change) % P, second * change % P))
        return self._rest(folded, shift * shift % P, 1)

    def leaf_k(self, index: int, symbols: Sequence[K]) -> K:
        """The symbol that a leaf of elements of K folds to."""
        return self._rest(symbols, self._shift(index), 0)

    def _shift(self, index: int) -> int:
        """What 1/X of a pair of this leaf is, over that of leaf 0: each round squares it."""
        width = self.length_bits - len(self.challenges)
        return pow(self.inverse_root, reverse_bits(index, width), P)

    def _rest(self, symbols: Sequence[K], shift: int, done: int) -> K:
        for (first, second), inverses in zip(self.challenges[done:], self.inverses[done:], strict=True):
            folded = []
            for inverse, (a, b), (c, d) in zip(inverses, symbols[::2], symbols[1::2], strict=True):
                place = shift * inverse % P
                plain, mixed = a + c, b + d
                change, turn = ((a - c) * place - plain) % P, ((b - d) * place - mixed) % P
                folded.append(
                    (
                        (plain + first * change + 7 * second * turn) % P,
                        (mixed + first * turn + second * change) % P,
                    )
                )
            symbols, shift = folded, shift * shift % P
        ((plain, mixed),) = symbols
        return plain * self.halves % P, mixed * self.halves % P


def fold(length_bits: int, challenges: Sequence[K]) -> Fold:
    """The folding of leaves of 2^len(challenges) symbols, one challenge a round."""
    rounds = range(len(challenges), 0, -1)
    return Fold(
        length_bits,
        tuple(challenges),
        tuple(_inverses(left) for left in rounds),
        inverse_root=pow(root_of_unity(length_bits), -1, P),
        halves=pow(_HALF, len(challenges), P),
    )


def _inverses(rounds: int) -> tuple[int, ...]:
    """1/X of the pairs in leaf 0, where `rounds` folds are left: powers of a root of unity of order 2^rounds."""
    step = pow(root_of_unity(rounds), -1, P)
    return tuple(pow(step, reverse_bits(pair, rounds - 1), P) for pair in range(1 << (rounds - 1)))
