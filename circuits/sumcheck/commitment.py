"""Commitments to vectors over F (section 6.2)."""

from __future__ import annotations

from dataclasses import dataclass

from .field import Words
from .merkle import Tree, tree
from .reed_solomon import encode


@dataclass(frozen=True, slots=True)
class Committed:
    """A vector of `2^bits` cells, and the tree over its codeword."""

    cells: Words
    tree: Tree

    @property
    def bits(self) -> int:
        """Variables of its multilinear extension."""
        return len(self.cells).bit_length() - 1

    @property
    def root(self) -> bytes:
        """The commitment, 32 bytes."""
        return self.tree.root


def commit(cells: Words, leaves_bits: int, blowup_bits: int, codeword: Words | None = None) -> Committed:
    """A commitment whose tree has `2^(leaves_bits + blowup_bits)` leaves; `codeword` is memory for the codeword."""
    return Committed(cells, tree(encode(cells, blowup_bits, codeword), len(cells) >> leaves_bits))
