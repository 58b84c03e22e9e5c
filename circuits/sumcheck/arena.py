"""Memory that a prover keeps from proof to proof (section 12): first touches of fresh pages cost more than the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .field import Words

_LEAST = 1 << 18  # words of a new piece


class Arena:
    """Vectors handed out like a stack: what a scope took is free again when the scope ends. For one proof at a time."""

    def __init__(self) -> None:
        self._pieces: list[Words] = []
        self._piece = 0
        self._used = 0

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(piece.nbytes for piece in self._pieces)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Free, at its end, all that was taken inside."""
        mark = self._piece, self._used
        try:
            yield
        finally:
            self._piece, self._used = mark

    def vector(self, count: int) -> Words:
        """A vector over F, uint64[count], of any content."""
        while self._piece < len(self._pieces):
            piece = self._pieces[self._piece]
            if self._used + count <= len(piece):
                self._used += count
                return piece[self._used - count : self._used]
            if self._used:
                self._piece, self._used = self._piece + 1, 0
            else:  # nobody has any of it: a larger one takes its place
                del piece, self._pieces[self._piece]
        self._pieces.append(np.empty(max(count, _LEAST), np.uint64))
        self._used = count
        return self._pieces[-1][:count]

    def elements(self, *shape: int) -> Words:
        """Vectors over K, uint64[*shape, 2], of any content."""
        count = 2
        for size in shape:
            count *= size
        return self.vector(count).reshape(*shape, 2)
