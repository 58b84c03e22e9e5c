"""Merkle trees over leaves of field symbols, and their multiproofs (sections 6.2 and 6.7)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .field import Words
from .sha256 import Hashes, as_bytes, hash_many


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree over `leaves`, uint64[2^n, symbols]; `levels[0]` are the leaves' hashes, the last level is the root's."""

    leaves: Words
    levels: tuple[Hashes, ...]

    @property
    def root(self) -> bytes:
        """The root, 32 bytes."""
        return as_bytes(self.levels[-1][0])

    def opening(self, indices: Sequence[int]) -> bytes:
        """Leaves at sorted, distinct indices, the number of sibling hashes (u32), and the hashes level by level."""
        known = list(indices)
        siblings: list[bytes] = []
        count = 0
        for level in self.levels[:-1]:
            here = set(known)
            missing = [i ^ 1 for i in known if i ^ 1 not in here]
            siblings.append(level[missing].astype(">u4").tobytes())
            count += len(missing)
            known = sorted({i >> 1 for i in known})
        leaves = self.leaves[list(indices)].astype("<u8").tobytes()
        return leaves + count.to_bytes(4, "little") + b"".join(siblings)


def tree(symbols: Words, leaf_symbols: int) -> Tree:
    """The tree whose leaf i holds the `leaf_symbols` words from `i * leaf_symbols` on."""
    leaves = np.ascontiguousarray(symbols).reshape(-1, leaf_symbols)
    levels = [hash_many(leaves.view(np.uint32), prefix=b"leaf", little_endian=True)]
    while len(levels[-1]) > 1:
        levels.append(hash_many(levels[-1].reshape(-1, 16)))
    return Tree(leaves, tuple(levels))
