"""Trees of SHA-256 over the leaves of a codeword, and the openings of several leaves at once (specification, 6.2 and 6.7)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from .messages import Messages
from .refusal import Step, require


def open_leaves(
    messages: Messages, root: bytes, depth: int, indices: Sequence[int], width: int
) -> dict[int, tuple[int, ...]]:
    """The leaves at `indices` (sorted, distinct, below 2^depth), each of `width` symbols, which belong to `root`.

    Raises `Rejected`.
    """
    data, symbols = messages.symbols(width * len(indices))
    size = 8 * width
    count = messages.count()
    require(count <= depth * len(indices), Step.MERKLE, "a leaf has more siblings than the tree has levels")
    siblings = messages.take(32 * count)
    nodes = {
        index: sha256(b"leaf" + data[number * size : (number + 1) * size]).digest()
        for number, index in enumerate(indices)
    }
    used = 0
    for _ in range(depth):
        above: dict[int, bytes] = {}
        # Dictionaries keep their order, so nodes stay sorted.
        for index, node in nodes.items():
            if index >> 1 in above:
                continue
            sibling = nodes.get(index ^ 1)
            if sibling is None:
                require(used < count, Step.MERKLE, "a sibling is missing")
                sibling = siblings[32 * used : 32 * used + 32]
                used += 1
            above[index >> 1] = sha256(sibling + node if index & 1 else node + sibling).digest()
        nodes = above
    require(used == count, Step.MERKLE, "a sibling is not needed")
    require(nodes == {0: root}, Step.MERKLE, "the leaves do not belong to the root")
    return {index: symbols[number * width : (number + 1) * width] for number, index in enumerate(indices)}
