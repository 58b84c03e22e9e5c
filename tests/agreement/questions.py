"""A pair of proof and instances, as it verifies or changed, and what a change of it draws on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from verinfer.verifier.instances import BN254_SCALAR_FIELD as R
from verinfer.verifier.statement import Statement

P = 0x30644E72E131A029B85045B68181585D97816A916871CA8D3C208C16D87CFD47
"""The order of BN254's base field (EIP-196): coordinates of points are below it."""

WORD = 1 << 256


@dataclass(frozen=True, slots=True)
class Honest:
    """A proof that verifies, its instances as field elements, and the statement that it is of."""

    circuit: str
    proof: bytes
    instances: tuple[int, ...]
    statement: Statement
    challenge: slice
    """Where the challenge lies in the instances: inputs before it, outputs after it."""

    @property
    def words(self) -> list[int]:
        """The proof's words: the coordinates of points, and scalars."""
        return [int.from_bytes(self.proof[at : at + 32], "big") for at in range(0, len(self.proof), 32)]


@dataclass(frozen=True, slots=True)
class Case:
    """What is put to the verifiers; `base` is the pair that was changed."""

    kind: str
    base: Honest = field(repr=False)
    proof: bytes = field(repr=False)
    instances: tuple[int, ...] = field(repr=False)

    @property
    def honest(self) -> bool:
        """Whether nothing was changed."""
        return (self.proof, self.instances) == (self.base.proof, self.base.instances)


@dataclass(frozen=True, slots=True)
class Draw:
    """What a change draws on: chance, the pair, and others: of the circuit, and of another one."""

    chance: random.Random
    base: Honest
    others: Sequence[Honest]
    foreign: Sequence[Honest]

    @property
    def other(self) -> Honest:
        """Another proof of the circuit."""
        return self.chance.choice(self.others)

    def place(self, items: Sequence[object]) -> int:
        """Any place in `items`."""
        return self.chance.randrange(len(items))

    def element(self) -> int:
        """Any canonical element."""
        return self.chance.randrange(R)


def points(words: Sequence[int]) -> list[int]:
    """The places of points among the words of a proof: where two words lie on the curve y² = x³ + 3."""
    found, at = [], 0
    while at + 1 < len(words):
        x, y = words[at], words[at + 1]
        on_curve = x < P and y < P and (y * y - x * x * x - 3) % P == 0
        if on_curve:
            found.append(at)
        at += 2 if on_curve else 1
    return found


def packed(words: Sequence[int]) -> bytes:
    """A proof of these words; each is taken modulo 2^256."""
    return b"".join((word % WORD).to_bytes(32, "big") for word in words)
