"""Codes, trees and places for the slow prover: from the text, in plain Python."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from verinfer.verifier.sumcheck.field import ZERO, K, P, add, mul, root_of_unity, scale, sub, total

from .dense import bits

Form = Callable[..., K]
Terms = list[tuple[int, int, list[K]]]
"""Polynomial (`W` or `X`), offset, and the weights of the cells from there on, coefficient included."""

HALF = (P + 1) // 2
W, X = 0, 1
"""The polynomial of weights, and the other one."""


def place(sizes: Iterable[tuple[str | int, int]]) -> tuple[dict[str | int, int], int]:
    """Offsets by name, and the bits of an index into everything."""
    offsets: dict[str | int, int] = {}
    end = 0
    for name, size in sorted(sizes, key=lambda entry: (-entry[1], entry[0])):
        offsets[name] = end
        end += 1 << size
    return offsets, bits(end)


def limbs(width: int, t: int) -> list[int]:
    """Widths of the limbs."""
    found = []
    while width > 0:
        found.append(min(t, width))
        width -= t
    return found


def digits(value: int, widths: Sequence[int], t: int) -> list[int]:
    """The limbs of a number; what does not fit stays in the last one."""
    low = [value >> (t * number) & ((1 << t) - 1) for number in range(len(widths) - 1)]
    return [*low, value >> (t * (len(widths) - 1))] if widths else []


def encode(message: Sequence[K], blowup: int) -> list[K]:
    """The codeword, in bit-reversed order."""
    size = len(message) << blowup
    word = [*message, *[ZERO] * (size - len(message))]
    half = size // 2
    while half:
        step = root_of_unity((2 * half).bit_length() - 1)
        twiddles = [1]
        for _ in range(half - 1):
            twiddles.append(twiddles[-1] * step % P)
        for start in range(0, size, 2 * half):
            for spot, twiddle in zip(range(start, start + half), twiddles, strict=True):
                a, b = word[spot], word[spot + half]
                word[spot], word[spot + half] = add(a, b), scale(sub(a, b), twiddle)
        half //= 2
    return word


def pack(values: Iterable[K]) -> bytes:
    """Elements as they are sent."""
    return b"".join(struct.pack("<QQ", *value) for value in values)


@dataclass
class Tree:
    """A Merkle tree over leaves, as they are opened."""

    leaves: list[bytes]
    levels: list[list[bytes]] = field(init=False)

    def __post_init__(self) -> None:
        self.levels = [[sha256(b"leaf" + leaf).digest() for leaf in self.leaves]]
        while len(self.levels[-1]) > 1:
            low = self.levels[-1]
            self.levels.append([sha256(a + b).digest() for a, b in zip(low[::2], low[1::2], strict=True)])

    @property
    def root(self) -> bytes:
        return self.levels[-1][0]

    def open(self, indices: Sequence[int]) -> tuple[bytes, list[bytes]]:
        """Leaves and siblings."""
        known, siblings = list(indices), []
        for level in self.levels[:-1]:
            siblings += [level[index ^ 1] for index in known if index ^ 1 not in known]
            known = sorted({index >> 1 for index in known})
        return b"".join(self.leaves[index] for index in indices), siblings


def base_tree(polynomial: Sequence[int], blowup: int, width: int) -> Tree:
    """The tree over the codeword of a polynomial over F, `width` symbols a leaf."""
    word = [struct.pack("<Q", value) for value, _ in encode([(cell % P, 0) for cell in polynomial], blowup)]
    return Tree([b"".join(word[start : start + width]) for start in range(0, len(word), width)])


def weighed(which: int, start: int, weights: list[K], coefficient: K) -> tuple[int, int, list[K]]:
    """One term."""
    return which, start, [mul(coefficient, weight) for weight in weights]


def applied(weights: Sequence[K], cells: Sequence[int]) -> K:
    """A functional's value."""
    return total(scale(weight, cell) for weight, cell in zip(weights, cells, strict=True))


def divide(value: K, by: K) -> K:
    """In K, by the norm."""
    a, b = by
    norm = pow(a * a - 7 * b * b, P - 2, P)
    return scale(mul(value, (a, -b % P)), norm)
